"""Numbers and small functions that several rooms compute with."""

import functools
import operator

from keras import ops

# Below it, 1 / loss would leave the range of float32.
TINY = 1e-37


def inverse(losses):
    """Returns 1 / losses for positive losses, else 0.

    These are the weights with which the gradient of `w * L` is that of
    `log(L)`.
    """
    positive = losses > TINY
    return ops.where(positive, 1.0 / ops.where(positive, losses, 1.0), 0.0)


def scaled(gradient, factor):
    """Returns a gradient times a factor; a gradient of zero may be `None`."""
    if gradient is None:
        return None
    return gradient * ops.cast(factor, gradient.dtype)


def total_of(gradients):
    """Returns the sum of those that are not `None`, `None` if all are."""
    given = [g for g in gradients if g is not None]
    return functools.reduce(operator.add, given) if given else None
