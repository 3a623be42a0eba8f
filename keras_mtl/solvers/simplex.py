"""Quadratic programs over the probability simplex."""

from typing import Any

from keras import ops

from keras_mtl.backend.compiling import compiled
from keras_mtl.solvers.nonnegative import RIDGE
from keras_mtl.solvers.nonnegative import nonnegative_qp
from keras_mtl.solvers.nonnegative import unit_gramian
from keras_mtl.solvers.positive_definite import solve_positive_definite

Tensor = Any


@compiled
def simplex_qp(
    gramian: Tensor,
    linear: Tensor | None = None,
    max_steps: int = 40,
    tolerance: float = 1e-6,
) -> Tensor:
    """Minimizes `alpha @ G @ alpha / 2 + linear @ alpha` over the simplex.

    Without `linear`, `J.T @ alpha` is the point of least norm in the convex
    hull of the gradients. The solution has one `mu` with
    `(G @ alpha + linear)_i >= mu`, and equality where `alpha_i > 0`. Without
    `linear`, the error of these is about `1e-6 * norm(g_i)` times the least
    norm of a gradient; gradients may differ by any factor.

    With y the weights in units of the gradients' norms, the problem without the
    sum's constraint is a quadratic program over `y >= 0`, which is solved
    exactly. Its solution is homogeneous in the multiplier of the constraint, so
    that it only has to be normalized. With `linear`, the multiplier is found by
    Newton's method within a bracket; the norms of the gradients should then be
    within a factor of 1e3.

    Args:
        gramian: Inner products of the gradients, a finite symmetric positive
            semi-definite tensor of shape `(T, T)`.
        linear: Tensor of shape `(T,)`, or `None` for zero.
        max_steps: The largest number of Newton steps for the multiplier.
        tolerance: Error of the sum at which these end.

    Returns:
        The weights `alpha`, float32 of shape `(T,)`, non-negative, with sum 1.
        A zero gradient, that of a task without a label, is left out and gets
        the weight 0. If all are zero, all weights are `1 / T`.

    Example:

    >>> gradients = np.array([[1.0, 0.0], [0.0, 2.0]])
    >>> simplex_qp(gradients @ gradients.T)  # 1 / norm**2: orthogonal
    [0.8, 0.2]

    Reference:

    - Désidéri, "Multiple-gradient descent algorithm (MGDA) for multiobjective
      optimization", 2012; Sener and Koltun, "Multi-Task Learning as
      Multi-Objective Optimization", 2018, equation 3. Their solver is
      Frank-Wolfe's, of a hundred steps and two digits.
    """
    gramian = ops.convert_to_tensor(gramian, dtype="float32")
    cosines, _, inverse_norms = unit_gramian(gramian)
    scale = ops.maximum(ops.max(inverse_norms), 1e-30)
    # What one unit of each variable adds to the sum of the weights.
    share = inverse_norms / scale
    # The second term is constant where the sum is 1, and makes the matrix
    # positive definite where the sum changes.
    matrix = cosines + share[:, None] * share
    if linear is None:
        y = nonnegative_qp(matrix, -share[None])[0]
    else:
        linear = ops.convert_to_tensor(linear, dtype="float32")
        slope = linear * share * ops.square(scale)
        y = _with_sum_one(matrix, slope, share, max_steps, tolerance)
    alpha = y * share
    total = ops.sum(alpha)
    uniform = ops.full_like(alpha, 1.0 / alpha.shape[0])
    return ops.where(
        total > 0, alpha / ops.where(total > 0, total, 1.0), uniform
    )


def _with_sum_one(matrix, linear, share, max_steps, tolerance):
    """Finds the multiplier at which `share @ y` is 1, and returns `y`."""
    infinity = ops.full((), float("inf"), dtype="float32")
    safe_share = ops.where(share > 0, share, 1.0)
    # The multipliers of the solutions in which one variable alone is not zero.
    vertices = (ops.diagonal(matrix) / safe_share + linear) / safe_share
    multiplier = ops.min(ops.where(share > 0, vertices, infinity))
    multiplier = ops.where(ops.isfinite(multiplier), multiplier, 0.0)

    def solve(multiplier, start):
        shifted = linear - multiplier * share
        return nonnegative_qp(matrix, shifted[None], start)

    def proceed(y, multiplier, low, high):
        return ops.abs(ops.sum(share * y) - 1.0) > tolerance

    def step(y, multiplier, low, high):
        excess = ops.sum(share * y) - 1.0
        low = ops.where(excess < 0, multiplier, low)
        high = ops.where(excess < 0, high, multiplier)
        multiplier = multiplier - excess / _slope(matrix, share, y)
        inside = (multiplier > low) & (multiplier < high)
        middle = 0.5 * low + 0.5 * high
        middle = ops.where(ops.isfinite(middle), middle, multiplier)
        multiplier = ops.where(inside, multiplier, middle)
        return solve(multiplier, y), multiplier, low, high

    start = solve(multiplier, ops.zeros_like(share[None]))
    state = (start, multiplier, -infinity, infinity)
    y, *_ = ops.while_loop(proceed, step, state, maximum_iterations=max_steps)
    return y[0]


def _slope(matrix, share, y):
    """The derivative of `share @ y` with respect to the multiplier."""
    face = ops.cast(y[0] > 0, "float32")
    rest = ops.diag(1.0 + RIDGE - face)
    matrix = face[:, None] * matrix * face + rest
    moves = solve_positive_definite(matrix[None], (face * share)[None])[0]
    return ops.maximum(ops.sum(share * moves), 1e-6)
