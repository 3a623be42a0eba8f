"""The problem of conflict-averse gradient descent."""

from typing import Any

from keras import ops

from keras_mtl.backend.compiling import compiled
from keras_mtl.solvers.nonnegative import MAX_VALUE
from keras_mtl.solvers.nonnegative import nonnegative_qp
from keras_mtl.solvers.nonnegative import product
from keras_mtl.solvers.nonnegative import unit_gramian

Tensor = Any


# The rounding of a residual, in units of the largest multiplier.
ROUNDING = 2e-6


@compiled
def conflict_averse(
    gramian: Tensor,
    c: float = 0.4,
    max_steps: int = 30,
    tolerance: float = 1e-6,
    length: float | None = None,
) -> Tensor:
    """Maximizes the least improvement of a task near the mean gradient.

    The direction `d` maximizes `min_i g_i @ d` over the ball
    `norm(d - g_0) <= c * norm(g_0)` around the mean gradient `g_0`. It is
    `g_0 + c * norm(g_0) * g_w / norm(g_w)`, with `g_w` the combination of the
    gradients on the simplex that minimizes
    `g_w @ g_0 + c * norm(g_0) * norm(g_w)`.

    The solution has `g_i @ d >= t`, with equality where `w_i > 0`, and `d` on
    the ball; the error is about `1e-6 * norm(g_i) * sum_j weight_j norm(g_j)`.

    The `d` nearest to `g_0` with `g_i @ d >= t` is a quadratic program over the
    non-negative orthant. Its distance to `g_0` is convex in `t`, so that
    Newton's method comes down to the `t` where it is the radius, in a few
    steps. Every iterate is the objective at some `w`, and thus an upper bound.

    If the convex hull of the gradients contains zero, and `c >= 1`, no
    direction improves all tasks: `t` is 0, and `d` is the projection of `g_0`
    onto the directions that conflict with no gradient.

    Args:
        gramian: Inner products of the gradients, a finite symmetric positive
            semi-definite tensor of shape `(T, T)`.
        c: Radius of the ball in units of the norm of the mean gradient, a
            number or a scalar tensor.
        max_steps: The largest number of Newton steps.
        tolerance: Relative error of the radius at which these end.
        length: Norm of what is added to `g_0` in that unit, if it is to be
            another one than `c`, which must then be positive.

    Returns:
        The weights of the gradients in `d`, float32 of shape `(T,)`: `1 / T`
        plus what is proportional to `w`.

    Example:

    >>> gradients = np.array([[1.0, 0.0], [0.0, 2.0]])
    >>> conflict_averse(gradients @ gradients.T, c=0.0)
    [0.5, 0.5]

    Reference:

    - Liu et al., "Conflict-Averse Gradient Descent for Multi-Task Learning",
      2021, section 3 and Algorithm 1.
    """
    gramian = ops.convert_to_tensor(gramian, dtype="float32")
    num_tasks = gramian.shape[0]
    cosines, norms, inverse_norms = unit_gramian(gramian)
    largest = ops.max(norms)
    mean = norms / ops.where(largest > 0, largest, 1.0) / num_tasks
    projections = product(mean[None], cosines)[0]
    radius = c * ops.sqrt(ops.relu(ops.sum(mean * projections)))
    # An improvement of 1, in units of the least norm, is this much along the
    # unit gradient of each task.
    share = inverse_norms / ops.maximum(ops.max(inverse_norms), 1e-30)

    def solve(level, start):
        linear = projections - level * share
        return nonnegative_qp(cosines, linear[None], start)

    def measure(y, level):
        y = y[0]
        squared = ops.sum(y * product(y[None], cosines)[0])
        largest = ops.max(y)
        # Where a level near 0 cannot be reached, the multipliers grow large and
        # are not a solution.
        rounding = ROUNDING * (1.0 + largest)
        spurious = (level > 0) & (level <= rounding)
        spurious = spurious | (largest >= MAX_VALUE)
        return ops.sqrt(ops.relu(squared)), rounding, spurious

    def proceed(y, level):
        distance, _, spurious = measure(y, level)
        return (distance > radius * (1.0 + tolerance)) | spurious

    def step(y, level):
        distance, rounding, spurious = measure(y, level)
        objective = radius * distance + ops.sum(y[0] * projections)
        bound = objective / ops.maximum(ops.sum(y[0] * share), 1e-30)
        bound = ops.minimum(level, bound)
        to_zero = (level > 0) & (ops.abs(bound) <= rounding)
        level = ops.where(to_zero, 0.0, bound)
        return solve(level, ops.where(spurious, 0.0, y)), level

    # The search begins where the constraint of one task alone has the distance
    # of the radius.
    levels = (radius + projections) / ops.where(share > 0, share, 1.0)
    level = ops.min(ops.where(share > 0, levels, float("inf")))
    level = ops.where(ops.isfinite(level), level, 0.0)
    y, level = ops.while_loop(
        proceed,
        step,
        (solve(level, ops.zeros_like(share[None])), level),
        maximum_iterations=max_steps,
    )
    distance, _, spurious = measure(y, level)
    shrink = ops.minimum(radius / ops.maximum(distance, 1e-30), 1.0)
    if length is not None:
        shrink = length / c * shrink
    added = ops.where(spurious, 0.0, shrink * y[0])
    return 1.0 / num_tasks + added * largest * inverse_norms
