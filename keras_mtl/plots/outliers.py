"""What the figures of Δm share: the name of the axis, and what leaves it."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np


def label_of_delta_m(result: Any) -> str:
    """Returns the label of an axis with the Δm of `result`."""
    if not hasattr(result, "summary"):
        return "Δm (%), lower is better"
    given = isinstance(result.baseline, dict)
    baseline = "the baseline" if given else result.baseline
    return f"Δm against {baseline} (%), lower is better"


def pair_of(value: Any) -> tuple[float, float]:
    """Returns a mean and its standard deviation, NaN where there is none."""
    mean, deviation = value if np.ndim(value) else (value, math.nan)
    return float(mean), float(deviation)


def find_limits(
    values: Sequence[float], limit: float | None
) -> tuple[float, float]:
    """Returns the least and the greatest value that are drawn in their place.

    What is beyond is drawn at the edge, a little farther than the others.

    Args:
        values: The Δm of each weighting.
        limit: As of `delta_m`.
    """
    if limit is not None and not limit > 0:
        raise ValueError(
            "Expected `limit` to be a positive number of percent, or "
            f"`math.inf`. Received: limit={limit}"
        )
    finite = [x for x in values if math.isfinite(x)]
    sizes = sorted(abs(x) for x in finite if x)
    if limit is None:
        limit = _far_from_the_others(sizes)
    if not sizes or sizes[-1] <= limit:
        return -math.inf, math.inf
    inside = [size for size in sizes if size <= limit]
    edge = 1.25 * inside[-1] if inside else limit
    low = -edge if min(finite) < -limit else -math.inf
    high = edge if max(finite) > limit else math.inf
    return low, high


def _far_from_the_others(sizes: Sequence[float]) -> float:
    """Returns the largest of the sorted sizes that is not an outlier."""
    if not sizes:
        return math.inf
    usual = 5 * sizes[(len(sizes) - 1) // 2]
    if len(sizes) < 4:
        usual = max(usual, 100.0)
    largest = sizes[0]
    for size in sizes:
        # What follows the others without a gap is no outlier.
        if size <= max(usual, 2 * largest):
            largest = size
    return largest
