"""The Nash bargaining solution of gradients that share parameters."""

from typing import Any

from keras import ops

from keras_mtl.backend.compiling import compiled
from keras_mtl.solvers.positive_definite import solve_positive_definite

Tensor = Any


# Bounds alpha where no solution exists (opposite gradients). It shifts the
# relative residual of task i by RIDGE * (alpha_i * norm_i)**2 only.
RIDGE = 1e-8
# This ridge is added to the Newton matrix alone, where it costs no accuracy.
# Above the rounding of float32, it keeps the matrix of a singular Gramian
# invertible.
STEP_RIDGE = 1e-6
# A Gramian with negative eigenvalues (TF32 noise) has no minimum to stop at.
MAX_RELATIVE_WEIGHT = 1e5
MIN_SHRINKAGE = 1e-2


@compiled
def nash_bargaining(
    gramian: Tensor, max_steps: int = 40, tolerance: float = 1e-5
) -> Tensor:
    """Solves the Nash bargaining problem of `T` gradients.

    The solution is the `alpha > 0` with `G @ alpha = 1 / alpha`, the minimizer
    of the strictly convex `alpha @ G @ alpha / 2 - sum(log(alpha))`. It
    reaches `max_i |alpha_i * (G @ alpha)_i - 1|` of about
    `1e-7 * max_i (alpha_i * norm_i)**2`, the rounding of a float32 `alpha`:
    1e-7 for gradients that agree, 1e-5 for 100 random ones in 100 dimensions.

    Newton's method is applied to the relative change of `alpha`, so scaling a
    gradient scales its weight by the inverse and changes nothing else. The
    step length minimizes an upper bound of the objective, so that every step
    decreases it; it tends to 1 near the solution. Random gradients take 1 to 8
    steps up to `T = 128`, nearly opposite ones about 20.

    A zero gradient gets the weight 0 and leaves the others unchanged. Where
    no solution exists (the convex hull of the gradients contains zero) the
    weights are large but finite.

    Args:
        gramian: Inner products of the gradients, a finite symmetric positive
            semi-definite tensor of shape `(T, T)`.
        max_steps: The largest number of Newton steps.
        tolerance: Relative change of `alpha` at which the steps end.

    Returns:
        The weights `alpha`, float32 of shape `(T,)`. Unit: the inverse of a
        gradient's norm.

    Example:

    >>> gradients = np.array([[3.0, 0.0], [0.0, 0.1]])
    >>> alpha = nash_bargaining(gradients @ gradients.T)
    >>> np.round(ops.convert_to_numpy(alpha), 4)  # 1 / norm: orthogonal
    array([ 0.3333, 10.    ], dtype=float32)

    Reference:

    - Navon et al., "Multi-Task Learning as a Bargaining Game", ICML 2022,
      Claim 3.1. Its official code solves a sequence of linearized problems
      on the host instead.
    """
    gramian = ops.convert_to_tensor(gramian, dtype="float32")
    norms = ops.sqrt(ops.relu(ops.diagonal(gramian)))
    nonzero = norms > 0
    unit = ops.where(nonzero, 1.0 / ops.where(nonzero, norms, 1.0), 0.0)

    def proceed(change, previous_change, _):
        # Rounding ends the quadratic convergence: the change stops shrinking.
        progressing = (previous_change > 0.25) | (
            change < 0.5 * previous_change
        )
        return (change > tolerance) & progressing

    def step(change, _, alpha):
        relative_step = _relative_step(gramian, norms, alpha)
        alpha = alpha * ops.maximum(1.0 + relative_step, MIN_SHRINKAGE)
        alpha = ops.minimum(alpha, MAX_RELATIVE_WEIGHT * unit)
        return ops.max(ops.abs(relative_step)), change, alpha

    infinite = ops.full((), float("inf"), dtype="float32")
    _, _, alpha = ops.while_loop(
        proceed,
        step,
        (infinite, infinite, _best_multiple(gramian, unit)),
        maximum_iterations=max_steps,
    )
    return alpha


def _best_multiple(gramian, unit):
    """The best multiple of the inverse norms: exact for two tasks."""
    squared_norm = ops.sum(unit[:, None] * (gramian * unit))
    num_tasks = ops.sum(ops.cast(unit > 0, "float32"))
    return unit * ops.sqrt(
        num_tasks / ops.maximum(squared_norm, RIDGE * ops.maximum(num_tasks, 1))
    )


def _relative_step(gramian, norms, alpha):
    """The damped Newton step of `log(alpha)`, to first order."""
    # These are sums of products, since a matrix product may be rounded to TF32
    # on a GPU.
    products = gramian * alpha
    ridge = ops.square(alpha * norms)
    residual = (
        ops.cast(alpha > 0, "float32")
        - alpha * ops.sum(products, axis=-1)
        - RIDGE * ridge
    )
    matrix = alpha[:, None] * products + ops.diag(1.0 + STEP_RIDGE * ridge)
    newton_step = solve_positive_definite(matrix[None], residual[None])[0]
    return newton_step * _step_length(newton_step, residual)


def _step_length(newton_step, residual):
    """Minimizes a bound of the objective along the step, over `(0, 1]`.

    With `m` the largest relative decrease, `-log(1 + t x)` is at most
    `-t x + (x / m)**2 * (-t m - log(1 - t m))` for every `x >= -m`. Its sum
    and the quadratic term are stationary at
    `curvature * m * t**2 - (1 + m) * t + 1 = 0`.
    """
    decrement = ops.maximum(ops.sum(residual * newton_step), 1e-30)
    curvature = ops.clip(
        1.0 - ops.sum(ops.square(newton_step)) / decrement, 0.0, 1.0
    )
    m = ops.relu(ops.max(-newton_step))
    root = ops.sqrt(ops.relu(ops.square(1.0 + m) - 4.0 * curvature * m))
    return 2.0 / (1.0 + m + root)
