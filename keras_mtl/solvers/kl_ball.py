"""Probabilities near the uniform ones, in the Kullback-Leibler divergence."""

import math
from typing import Any

from keras import ops

from keras_mtl.backend.compiling import compiled

Tensor = Any


# The widest bracket, 88 e-folds, times 175**-4 is the rounding of float32.
CANDIDATES = 176
ROUNDS = 4
# Larger logits are taken for this one, since the ratio of their differences to
# the lower end of the bracket must not leave the range of float32.
MAX_LOGIT = 1e30
MIN_TEMPERATURE = 1e-7


@compiled
def project_onto_kl_ball(logits: Tensor, radius: float) -> Tensor:
    """Projects probabilities onto a ball around the uniform ones.

    The result minimizes `KL(p || q)`, with `q` proportional to `exp(logits)`,
    among the `p` with `KL(p || uniform) <= radius`. It is
    `p = softmax(logits / (1 + multiplier))`, where the multiplier is 0 if that
    `p` is in the ball, and else solves `KL(p || uniform) = radius`.

    That divergence increases with the inverse temperature `1 / (1 +
    multiplier)`, and is at most an eighth of its square times the squared range
    of the logits: this brackets the root. In each of 4 rounds the bracket
    shrinks to one of 175 parts, on a logarithmic scale, that are tried at once.
    It reaches `KL(p || uniform) = radius` to the rounding of float32: 4e-7 for
    11 tasks and 2e-6 for 100, whatever the scale of the logits.

    Args:
        logits: Unnormalized log-probabilities, a finite tensor of shape `(T,)`.
        radius: Nonnegative float, the largest divergence, in nats. No `p` is
            farther away than `log(T)`.

    Returns:
        The logarithms of the probabilities, float32 of shape `(T,)`: a
        probability that float32 cannot hold is not lost.

    Example:

    >>> log_p = project_onto_kl_ball(np.array([0.0, 0.0, 50.0]), radius=0.2)
    >>> np.round(ops.convert_to_numpy(ops.exp(log_p)), 4)
    array([0.1783, 0.1783, 0.6434], dtype=float32)
    """
    logits = ops.convert_to_tensor(logits, dtype="float32")
    logits = ops.clip(logits, -MAX_LOGIT, MAX_LOGIT)
    if radius >= math.log(logits.shape[0]):
        return ops.log_softmax(logits)
    if radius == 0:
        return ops.full_like(logits, -math.log(logits.shape[0]))
    logits = logits - ops.max(logits)
    spread = ops.maximum(-ops.min(logits), MIN_TEMPERATURE)
    shape = logits / spread  # Its values are between -1 and 0.
    high = spread  # This end of the bracket is the multiplier 0.
    low = ops.minimum(max(math.sqrt(8.0 * radius), MIN_TEMPERATURE), high)
    for _ in range(ROUNDS):
        low, high = _shrink(low, high, shape, radius)
    return ops.log_softmax(low * shape)


def _shrink(low, high, shape, radius):
    """Returns the part of the bracket in which the divergence is `radius`."""
    fractions = ops.arange(CANDIDATES, dtype="float32") / (CANDIDATES - 1)
    # The last candidate is the end of the bracket itself, and not rounded: it
    # may be the result.
    candidates = ops.where(
        fractions < 1, low * ops.exp(fractions * ops.log(high / low)), high
    )
    # The largest logit is 0, so that no exponential overflows.
    logits = candidates[:, None] * shape
    p = ops.exp(logits)
    total = ops.sum(p, axis=-1)
    divergence = ops.sum(p * logits, axis=-1) / total - ops.log(total)
    inside = divergence + math.log(shape.shape[0]) <= radius
    count = ops.maximum(ops.sum(ops.cast(inside, "int32")), 1)
    last = ops.minimum(count, CANDIDATES - 1)
    return ops.take(candidates, count - 1), ops.take(candidates, last)
