"""What a training step may have to undo, or to begin with once more."""

import contextlib

import keras
from keras import ops

from keras_mtl.backend.keras_internals import UndoneScope
from keras_mtl.backend.keras_internals import made_as_weights


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
    """Lists what a forward pass may change: statistics and seeds.

    The weights of frozen layers are not among them, which it only reads.
    """
    others = {id(v) for v in model.weighting.variables}
    others |= set(map(id, made_as_weights(model)))
    return [v for v in model.non_trainable_variables if id(v) not in others]


@contextlib.contextmanager
def unchanged(model, variables=(), values=()):
    """A block whose forward passes change no variable.

    Nothing is written back, since a tensor that a backward pass needs may not
    be overwritten on PyTorch.

    Args:
        model: `MultiTaskModel`.
        variables: List of variables that have other values in the block.
        values: List of these values.

    Yields:
        The scope of the block.
    """
    # The losses that layers added would keep the record of an earlier pass.
    model._clear_losses()
    with UndoneScope(zip(variables, values), collect_losses=True) as scope:
        yield scope
    model._clear_losses()
