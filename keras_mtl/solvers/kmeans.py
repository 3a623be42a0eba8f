"""The best partition of numbers into groups."""

from typing import Any

import numpy as np
from keras import ops

from keras_mtl.backend.compiling import compiled

Tensor = Any


@compiled
def kmeans_1d(
    points: Tensor, num_groups: int, counted: Tensor | None = None
) -> Tensor:
    """Replaces each number by the mean of its group.

    The groups minimize the sum of the squared distances of the numbers to the
    means of their groups. The groups of the best partition are intervals of the
    sorted numbers. So the smallest sum for the first `j` of them in `k` groups
    is a minimum over the beginning `i` of the last group, of the sum for the
    first `i` in `k - 1` groups plus that of `i` to `j`: `num_groups` operations
    on `(T, T)` matrices find the global minimum, without an initialization.
    Where two partitions are equally good, it is the one whose last groups
    begin first.

    The distances in a group are summed about its smallest number, so that
    groups far from zero lose no digits: the relative error of a sum of squares
    is about `1e-7 * T`.

    Args:
        points: Finite tensor of shape `(T,)`.
        num_groups: Positive integer, the number of groups; with `num_groups >=
            T` each number is its own group.
        counted: Boolean tensor of shape `(T,)`, the numbers that count; all by
            default. The others join a group without moving its mean.

    Returns:
        Float32 tensor of shape `(T,)`: the mean of the group of each number.

    Example:

    >>> means = kmeans_1d(np.array([9.0, 1.0, 2.0, 7.0]), num_groups=2)
    >>> ops.convert_to_numpy(means)
    array([8. , 1.5, 1.5, 8. ], dtype=float32)
    """
    points = ops.convert_to_tensor(points, dtype="float32")
    num_points = points.shape[0]
    if counted is None:
        counted = ops.ones((num_points,), dtype="bool")
    largest = ops.max(ops.where(counted, points, -np.inf))
    largest = ops.where(ops.any(counted), largest, 0.0)
    points = ops.where(counted, points, largest)
    # Squares of the numbers may leave the range of float32.
    scale = ops.max(ops.abs(points))
    scale = ops.where(scale > 0, scale, 1.0)
    order = ops.argsort(points)
    points = ops.take(points, order) / scale
    counts = ops.cast(ops.take(counted, order), "float32")
    fitted = _fit(points, counts, min(num_groups, num_points))
    return scale * ops.take(fitted, ops.argsort(order))


def _fit(points, counts, num_groups):
    """Returns the group means of sorted numbers."""
    num_points = points.shape[0]
    means, costs = _intervals(points, counts)
    index = ops.arange(num_points)
    # Row j: the means of the groups of the numbers up to j, so far one group.
    fits = means[0][:, None] * ops.ones((1, num_points))
    totals = costs[0]
    for group in range(1, num_groups):
        # Row i, column j: the numbers before i in `group` groups, then i to j.
        candidates = ops.roll(totals, 1)[:, None] + costs
        allowed = (index[:, None] >= group) & (index[:, None] <= index)
        candidates = ops.where(allowed, candidates, np.inf)
        begin = ops.argmin(candidates, axis=0)
        totals = ops.min(candidates, axis=0)
        last = ops.take_along_axis(means, begin[None, :], axis=0)[0]
        earlier = ops.take(ops.roll(fits, 1, axis=0), begin, axis=0)
        fits = ops.where(index < begin[:, None], earlier, last[:, None])
    return fits[-1]


def _intervals(points, counts):
    """Returns the means and the sums of squares of the numbers from i to j."""
    index = ops.arange(points.shape[0])
    covered = ops.cast(index[:, None] <= index, "float32")
    counts = covered * counts
    distances = covered * (points - points[:, None])
    number = ops.maximum(ops.cumsum(counts, axis=1), 1.0)
    mean = ops.cumsum(counts * distances, axis=1) / number
    squares = ops.cumsum(counts * ops.square(distances), axis=1)
    costs = ops.relu(squares - number * ops.square(mean))
    return points[:, None] + mean, costs
