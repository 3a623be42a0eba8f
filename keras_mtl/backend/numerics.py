"""What keeps numbers in the range of float32."""

import functools
import operator
from collections.abc import Iterable
from typing import Any

import keras
from keras import ops

# A tensor of the backend, or what it converts to one.
Tensor = Any

# Seeds are kept in 32 bits, with a sign on some backends.
MAX_SEED = 2**31

# Below it, 1 / loss would leave the range of float32.
TINY = 1e-37


def inverse(losses: Tensor) -> Tensor:
    """Returns 1 / losses for positive losses, else 0.

    These are the weights with which the gradient of `w * L` is that of
    `log(L)`.

    Args:
        losses: Float tensor of any shape.

    Returns:
        Tensor of that shape.
    """
    positive = losses > TINY
    return ops.where(positive, 1.0 / ops.where(positive, losses, 1.0), 0.0)


def seed_generator(seed: int | None) -> keras.random.SeedGenerator:
    """Makes the state of random numbers from any integer, or at random."""
    if seed is not None:
        seed = seed % MAX_SEED
    return keras.random.SeedGenerator(seed)


def scaled(gradient: Tensor | None, factor: Tensor) -> Tensor | None:
    """Returns a gradient times a factor; a gradient of zero may be `None`."""
    if gradient is None:
        return None
    return gradient * ops.cast(factor, gradient.dtype)


def total_of(gradients: Iterable[Tensor | None]) -> Tensor | None:
    """Returns the sum of those that are not `None`, `None` if all are."""
    given = [g for g in gradients if g is not None]
    return functools.reduce(operator.add, given) if given else None


def norm_of_all(tensors: Iterable[Tensor | None]) -> Tensor:
    """Returns the norm of tensors together, in float32; `None` is zeros."""
    given = [ops.cast(t, "float32") for t in tensors if t is not None]
    if not given:
        return ops.zeros(())
    # Squares of large numbers would leave the range of float32.
    largest = ops.max(ops.stack([ops.max(ops.abs(t)) for t in given]))
    unit = ops.where(largest > TINY, largest, 1.0)
    return unit * ops.sqrt(total_of([ops.sum((t / unit) ** 2) for t in given]))
