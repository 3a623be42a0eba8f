"""The equation of alpha-fair gradient descent."""

from typing import Any

from keras import ops

from keras_mtl.backend.compiling import compiled
from keras_mtl.solvers.nash import MIN_SHRINKAGE
from keras_mtl.solvers.nash import STEP_RIDGE
from keras_mtl.solvers.nonnegative import product
from keras_mtl.solvers.nonnegative import unit_gramian
from keras_mtl.solvers.positive_definite import solve_positive_definite

Tensor = Any


# Bounds the weights where no solution exists, in units of the first guess.
MAX_GROWTH = 1e5


@compiled
def fair_weights(
    gramian: Tensor,
    alpha: float = 2.0,
    max_steps: int = 60,
    tolerance: float = 1e-5,
) -> Tensor:
    """Solves `G @ w = w ** (-1 / alpha)` for `w > 0`.

    It is the minimizer of the strictly convex `w @ G @ w / 2 - sum(u(w))`,
    with `u'(w) = w ** (-1 / alpha)`. For `alpha = 1` this is the Nash
    bargaining solution (`keras_mtl.solvers.nash_bargaining`), for
    `alpha = inf` it would be max-min fairness.

    It reaches `max_i |(G @ w)_i * w_i ** (1 / alpha) - 1|` of about
    `1e-7 * max_i w_i**(1 + 1 / alpha) * norm_i**2`, the rounding of a float32
    `w`: 1e-6 for random gradients.

    Newton's method is applied to the relative change of `w`. The length of a
    step minimizes an upper bound of the objective, so that every step decreases
    it; it tends to 1 near the solution. Random gradients take 4 to 12 steps up
    to `T = 128`.

    A zero gradient gets the weight 0 and leaves the others unchanged. Where
    no solution exists (the convex hull of the gradients contains zero) the
    weights are large but finite.

    Args:
        gramian: Inner products of the gradients, a finite symmetric positive
            semi-definite tensor of shape `(T, T)`.
        alpha: The fairness, a positive number.
        max_steps: The largest number of Newton steps.
        tolerance: Relative change of `w` at which the steps end.

    Returns:
        The weights `w`, float32 of shape `(T,)`.

    Example:

    >>> gramian = np.diag([1.0, 8.0])
    >>> fair_weights(gramian, alpha=2.0)  # norm**(-4 / 3): orthogonal
    [1.0, 0.25]

    Reference:

    - Ban and Ji, "Fair Resource Allocation in Multi-Task Learning", 2024,
      equation 4. The official code minimizes the residual by least squares on
      the host.
    """
    gramian = ops.convert_to_tensor(gramian, dtype="float32")
    power = 1.0 / alpha
    cosines, norms, inverse_norms = unit_gramian(gramian)
    nonzero = norms > 0
    logs = ops.where(nonzero, ops.log(ops.where(nonzero, norms, 1.0)), 0.0)
    count = ops.maximum(ops.sum(ops.cast(nonzero, "float32")), 1.0)
    mean_log = ops.sum(logs) / count
    # With norms in units of their geometric mean, and `y` the weights in units
    # of these norms, the equation is `cosines @ y = utility * y**-power`.
    logs = ops.where(nonzero, logs - mean_log, 0.0)
    utility = ops.exp((power - 1.0) * logs)
    first = ops.where(nonzero, ops.exp((power - 1.0) / (1 + power) * logs), 0.0)

    def pay(y):
        return ops.where(
            nonzero, utility * ops.where(nonzero, y, 1.0) ** (1 - power), 0.0
        )

    squared = ops.sum(first * product(first[None], cosines)[0])
    squared = ops.maximum(squared, 1e-8 * ops.sum(first * first))
    multiple = ops.sum(pay(first)) / ops.where(squared > 0, squared, 1.0)
    first = first * multiple ** (1.0 / (1.0 + power))

    def proceed(change, previous_change, _):
        # Rounding ends the quadratic convergence: the change stops shrinking.
        shrinks = change < 0.5 * previous_change
        progressing = shrinks | (previous_change > 0.1 / (1.0 + power))
        return (change > tolerance) & progressing

    def step(change, _, y):
        payment = pay(y)
        direction = _newton_direction(cosines, y, payment, power)
        length = _step_length(direction, power)
        y = y * ops.maximum(1.0 + length * direction, MIN_SHRINKAGE)
        y = ops.minimum(y, MAX_GROWTH * first)
        return ops.max(ops.abs(direction)), change, y

    infinite = ops.full((), float("inf"), dtype="float32")
    _, _, y = ops.while_loop(
        proceed,
        step,
        (infinite, infinite, first),
        maximum_iterations=max_steps,
    )
    unit = ops.exp(-2.0 / (1.0 + power) * mean_log - logs)
    return ops.where(nonzero, y * unit, 0.0)


def _newton_direction(cosines, y, payment, power):
    """The relative change of `y` to the minimum of the quadratic model."""
    root = ops.sqrt(payment)
    scale = ops.where(root > 0, y / ops.where(root > 0, root, 1.0), 0.0)
    residual = root - scale * product(y[None], cosines)[0]
    matrix = scale[:, None] * cosines * scale
    ridge = ops.diag(power + STEP_RIDGE * ops.square(scale))
    step = solve_positive_definite((matrix + ridge)[None], residual[None])[0]
    return ops.where(root > 0, step / ops.where(root > 0, root, 1.0), 0.0)


def _step_length(direction, power):
    """Minimizes a bound of the objective along the step, over `(0, 1]`.

    With `m` the largest relative decrease, the second derivative along the step
    is at most `(1 - t m)**(-1 - power)` times the first one.
    """
    m = ops.relu(ops.max(-direction))
    safe = ops.maximum(m, 1e-6)
    length = -ops.expm1(-ops.log1p(power * safe) / power) / safe
    return ops.where(m > 1e-6, length, 1.0)
