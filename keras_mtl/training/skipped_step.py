import contextlib

import keras
from keras import ops


@contextlib.contextmanager
def undone_if_skipped(model):
    """Undoes what the weighting learns in a step that an overflow skips.

    Loss balancing sees finite losses before their gradients overflow. Only
    with a `LossScaleOptimizer`, which looks for overflows, does it cost
    anything.
    """
    if not scales_loss(model):
        yield
        return
    weighting, optimizer = model.weighting, model.optimizer
    state = [*weighting.variables, *weighting.untracked_variables()]
    before = [ops.copy(v) for v in state]
    scale = optimizer.scale_loss(ops.ones(()))
    yield
    skipped = is_skipped(optimizer, scale)
    for variable, old in zip(state, before):
        new = ops.convert_to_tensor(variable)
        variable.assign(ops.where(skipped, old, new))


def scales_loss(model):
    return isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)


def is_skipped(optimizer, scale):
    """Whether the last step was skipped, a boolean tensor.

    Args:
        optimizer: `LossScaleOptimizer`.
        scale: The loss scale before the step.
    """
    # Not by the iterations, which stand still while gradients accumulate.
    no_count = ops.equal(ops.convert_to_tensor(optimizer.step_counter), 0)
    return ops.logical_and(no_count, optimizer.dynamic_scale <= scale)
