"""Random numbers as pure functions of a seed and counters.

`keras.random` takes its seed from a variable, which may not be written inside
of a loop on JAX, and its numbers differ between backends and between eager and
compiled TensorFlow. These are the same everywhere.
"""

import math
from typing import Any

from keras import ops

Tensor = Any


def normal(
    shape: tuple[int, ...], seed: Tensor | int, *counters: Tensor | int
) -> Tensor:
    """Returns standard normal numbers.

    Args:
        shape: Tuple of integers.
        seed: Integer or int32 tensor, a scalar.
        *counters: Integers or int32 tensors, scalars. Other counters give
            independent numbers.

    Returns:
        Float32 tensor of the given shape, within ±5.42.

    Example:

    >>> from keras_mtl.agents.noise import normal
    >>> normal((3,), 7, 0)
    [-0.5630173, -0.7212366, 0.1117916]
    """
    # The number is the middle of one of 2**24 intervals, which float32 holds
    # exactly, and never ±1, where `erfinv` is infinite.
    signed = ops.cast(
        ops.right_shift(_bits(shape, seed, *counters), 8), "float32"
    )
    return math.sqrt(2.0) * ops.erfinv((signed + 0.5) / 2.0**23)


def integers(
    shape: tuple[int, ...],
    high: Tensor | int,
    seed: Tensor | int,
    *counters: Tensor | int,
) -> Tensor:
    """Returns integers from 0 to `high - 1`, each with the same probability.

    Args:
        shape: Tuple of integers.
        high: Positive int32 tensor, a scalar, up to about a million.
        seed: Integer or int32 tensor, a scalar.
        *counters: Integers or int32 tensors, scalars.

    Returns:
        Int32 tensor of the given shape.
    """
    unsigned = _shift_right(_bits(shape, seed, *counters), 8)
    fraction = ops.cast(unsigned, "float32") / 2.0**24
    drawn = ops.cast(fraction * ops.cast(high, "float32"), "int32")
    # The product may have been rounded up to `high`.
    return ops.minimum(drawn, high - 1)


def _bits(shape, seed, *counters):
    # The constant is added so that a seed and a counter that are equal give
    # different keys.
    key = _mix(ops.convert_to_tensor(seed, "int32") + (0x9E3779B9 - 2**32))
    for counter in counters:
        key = _mix(key + ops.convert_to_tensor(counter, "int32") + 1)
    index = ops.reshape(
        ops.arange(1, math.prod(shape) + 1, dtype="int32"), shape
    )
    return _mix(ops.bitwise_xor(_mix(index), key))


def _mix(x):
    """The finalizer of MurmurHash3: every bit of `x` changes every other."""
    # Products wrap around in int32, the only type that every backend
    # multiplies and that JAX has by default.
    x = ops.bitwise_xor(x, _shift_right(x, 16)) * (0x85EBCA6B - 2**32)
    x = ops.bitwise_xor(x, _shift_right(x, 13)) * (0xC2B2AE35 - 2**32)
    return ops.bitwise_xor(x, _shift_right(x, 16))


def _shift_right(x, bits):
    """Shifts zeros in, also where `x` is negative."""
    return ops.bitwise_and(ops.right_shift(x, bits), 2 ** (32 - bits) - 1)
