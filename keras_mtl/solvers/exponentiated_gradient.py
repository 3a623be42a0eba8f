"""Multiplicative updates of probabilities that never underflow."""

import math
from typing import Any

from keras import ops

Tensor = Any


# A probability that float32 cannot tell from 0 is kept here, so that its task
# can come back.
MIN_LOG_P = math.log(1e-37)
# Larger gains are taken for this one, so that their sums stay in the range of
# float32.
MAX_GAIN = 1e30
# This stands for -inf: a difference of two infinities would be NaN.
NOTHING = -3e38


def exponentiated_gradient_step(
    log_p: Tensor, gains: Tensor, counted: Tensor
) -> Tensor:
    """Multiplies probabilities by the exponentials of their gains.

    The result is `log(p * exp(gains) / sum(p * exp(gains)))`. Where a gain is
    not known, `p` stays as it is, and the others share what is left.

    Args:
        log_p: Logarithms of probabilities that sum to 1, float tensor of shape
            `(T,)`.
        gains: Float tensor of shape `(T,)`.
        counted: Boolean tensor of shape `(T,)`, where a gain is known.

    Returns:
        Float32 tensor of shape `(T,)`, the new logarithms. Keep them above
        `MIN_LOG_P`.

    Example:

    >>> log_p = np.log(np.array([0.4, 0.4, 0.2], "float32"))
    >>> gains, counted = np.log([3.0, 1.0, 7.0]), np.array([True, True, False])
    >>> new = exponentiated_gradient_step(log_p, gains, counted)
    >>> np.round(np.exp(ops.convert_to_numpy(new)), 4)
    array([0.6, 0.2, 0.2], dtype=float32)
    """
    log_p = ops.convert_to_tensor(log_p, dtype="float32")
    gains = ops.convert_to_tensor(gains, dtype="float32")
    gains = ops.clip(gains, -MAX_GAIN, MAX_GAIN)
    before = ops.logsumexp(ops.where(counted, log_p, NOTHING))
    after = ops.logsumexp(ops.where(counted, log_p + gains, NOTHING))
    return ops.log_softmax(log_p + ops.where(counted, gains, after - before))
