"""Means and their confidence intervals, by Student's t distribution."""

import math
import statistics
from collections.abc import Sequence

# Of the intervals, as probability.
CONFIDENCE = 0.95


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Returns the mean and the ends of its confidence interval.

    The ends are NaN for one value, the mean, too, if a value is not finite.

    Example:

    >>> mean, low, high = interval([1.0, 2.0, 3.0])
    >>> mean, round(low, 3), round(high, 3)
    (2.0, -0.484, 4.484)
    """
    if not values or not all(map(math.isfinite, values)):
        return math.nan, math.nan, math.nan
    mean = statistics.fmean(values)
    width = half_width(values)
    return mean, mean - width, mean + width


def half_width(values: Sequence[float]) -> float:
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return math.nan
    error = statistics.stdev(values) / math.sqrt(len(values))
    return quantile(CONFIDENCE, len(values) - 1) * error


def quantile(probability: float, degrees: int) -> float:
    """Returns the `t` with `P(|T| <= t) = probability`.

    `T` has Student's distribution with that many degrees of freedom. For whole
    numbers of them, its distribution function is a finite sum.

    Reference:
        Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and
        26.7.4.
    """
    low, high = 0.0, math.pi / 2
    # Halving the interval of the angle gives one more bit each time.
    for _ in range(60):
        angle = (low + high) / 2
        if _probability(angle, degrees) < probability:
            low = angle
        else:
            high = angle
    return math.sqrt(degrees) * math.tan(low)


def _probability(angle: float, degrees: int) -> float:
    """Returns `P(|T| <= t)` for `t = sqrt(degrees) tan(angle)`."""
    cosine, is_odd = math.cos(angle), degrees % 2
    term = cosine if is_odd else 1.0
    total = term if degrees > 1 else 0.0
    for i in range(2 + is_odd, degrees - 1, 2):
        term *= cosine**2 * (i - 1) / i
        total += term
    if is_odd:
        return 2 / math.pi * (angle + math.sin(angle) * total)
    return math.sin(angle) * total
