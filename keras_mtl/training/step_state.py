"""What a training step may have to undo, or to begin with once more."""

import keras
from keras import ops


def scales_loss(model):
    """Whether the model's optimizer may skip a step that overflows."""
    return isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)


def is_skipped(optimizer, scale):
    """Whether the last step was skipped, a boolean tensor.

    Args:
        optimizer: `LossScaleOptimizer`.
        scale: The loss scale before the step.
    """
    # The iterations do not tell, which stand still while gradients accumulate.
    no_count = ops.equal(ops.convert_to_tensor(optimizer.step_counter), 0)
    return ops.logical_and(no_count, optimizer.dynamic_scale <= scale)


def network_state(model):
    """Lists what a forward pass may change: statistics and seeds."""
    own = set(map(id, model.weighting.variables))
    return [v for v in model.non_trainable_variables if id(v) not in own]


def losses_after_step(model, data):
    """Computes the losses of a batch anew, and records nothing.

    Returns:
        Tensor of shape `(T,)`, the losses with their `loss_weights`, as a
        weighting sees them.
    """
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    y_pred = model(x, training=True)
    losses = model._task_losses.compute(y, y_pred, sample_weight, record=False)
    return model._losses_to_weight(losses)
