"""Quadratic programs over the non-negative orthant."""

from typing import Any

from keras import ops

from keras_mtl.backend.primitives import of_backend
from keras_mtl.solvers.positive_definite import solve_positive_definite

Tensor = Any


# This ridge is added to the Newton matrix alone, where it costs no accuracy.
# Above the rounding of float32, it keeps the matrix of a singular face
# invertible.
RIDGE = 1e-5
# The largest value at which a program that is not bounded below ends.
MAX_VALUE = 1e4
# A sum of more products than this takes longer than a matrix product.
PRODUCT_SIZE = 2**12
# The largest solution of pivots that is used.
MAX_PIVOTED = 1e2
# For programs up to this size, pivots cost less than solving for faces. Larger
# ones begin with conjugate gradients, which cost less than either.
PIVOT_SIZE = 2**15


def nonnegative_qp(
    matrix: Tensor,
    linear: Tensor,
    start: Tensor | None = None,
    max_steps: int = 100,
    tolerance: float = 5e-7,
) -> Tensor:
    """Minimizes `y @ matrix @ y / 2 + linear @ y` over `y >= 0`.

    The condition that it reaches is the natural residual
    `max_i |y_i - max(y_i - gradient_i, 0)| <= tolerance * (1 + max_i y_i)`, in
    float32 with entries of `matrix` of about 1. Where that is below the
    rounding of nearly singular matrices, it ends with the last decrease.

    Small programs begin with principal pivots, each of which exchanges one
    variable with its derivative: about one for each variable that is not zero.
    They end at the solution, but where rounding spoils it.

    Then, an active-set method: each step solves for the minimum on a face
    exactly and searches along the path to it, projected onto the
    orthant. At first all variables with a negative derivative enter the face
    together; after a step that had to be shortened, one at a time. Every step
    decreases the objective, so that no set can come back. Random Gramians of
    100 tasks take 3 to 15 steps, nearly opposite gradients about one per task.
    Larger programs take a few steps with conjugate gradients before.

    Args:
        matrix: Positive semi-definite tensor of shape `(T, T)`, its diagonal
            between 1 and 2, or 0 where its row is (there `linear` is 0, too).
        linear: Tensor of shape `(B, T)`, one row for each of `B` programs.
        start: Where the active-set method begins, a non-negative tensor of
            shape `(B, T)`, if there are no pivots before it.
        max_steps: The largest number of steps.
        tolerance: See above.

    Returns:
        The minimizers, float32 of shape `(B, T)`.
    """
    programs, tasks = linear.shape
    if start is None:
        start = ops.zeros_like(linear)
    is_small = programs * tasks**2 <= PIVOT_SIZE
    if is_small:
        y = _pivots(matrix, linear, tolerance)
        # Larger solutions are those of a nearly singular face, whose inverse
        # has lost the digits.
        accurate = ops.max(y, axis=-1, keepdims=True) < MAX_PIVOTED
        start = ops.where(accurate, y, start)

    def proceed(y, gradient, together, alive):
        return ops.any(_is_live(y, gradient, tolerance) & alive)

    def make_step(find_direction):
        def step(y, gradient, together, alive):
            live = _is_live(y, gradient, tolerance) & alive
            face = _face(y, gradient, together)
            direction = find_direction(matrix, face, gradient)
            y_new, decreases, full = _search(matrix, y, gradient, direction)
            moved = live & decreases
            y = ops.where(moved, y_new, y)
            gradient = product(y, matrix) + linear
            return y, gradient, together & full, alive & (moved | together)

        return step

    gradient = product(start, matrix) + linear
    all_programs = ops.ones((programs, 1), dtype="bool")
    state = (start, gradient, all_programs, all_programs)
    if not is_small:
        y, gradient, together, _ = ops.while_loop(
            proceed,
            make_step(_conjugate_gradients),
            state,
            maximum_iterations=16,
        )
        # Where these directions no longer help, exact ones may.
        state = (y, gradient, together, all_programs)
    return ops.while_loop(
        proceed, make_step(_solve), state, maximum_iterations=max_steps
    )[0]


def _pivots(matrix, linear, tolerance):
    """Solves the programs by principal pivots, or comes close.

    With `w = matrix @ y + linear`, the solution has `y >= 0`, `w >= 0` and
    `y_i w_i = 0`. In the dictionary `basic = table @ nonbasic + values`, which
    begins with all of `w` basic, a pivot makes `y_k` basic in place of `w_k`,
    or the reverse, where the value of that is the least; when no value is
    negative, they are the solution (Cottle, Pang and Stone, "The Linear
    Complementarity Problem", 1992, section 4.2).
    """
    programs, tasks = linear.shape
    ridge = RIDGE * ops.eye(tasks)
    # The tolerance shrinks with the linear term: a variable that is small next
    # to others may still matter to a small gradient.
    rounding = tolerance * ops.minimum(ops.abs(linear), 1.0)

    def negative(values):
        return ops.where(values < -rounding, values, 0.0)

    def proceed(table, values, face):
        return ops.any(negative(values) < 0)

    def pivot(table, values, face):
        least = ops.min(negative(values), axis=-1, keepdims=True)
        place = ops.one_hot(ops.argmin(negative(values), axis=-1), tasks)
        place = ops.where(least < 0, place, 0.0)
        column = ops.sum(table * place[:, None, :], axis=-1)
        row = ops.sum(table * place[:, :, None], axis=-2)
        corner = ops.sum(column * place, axis=-1, keepdims=True)
        factor = 1.0 / ops.where(corner > 0, corner, 1.0)
        column = column + place
        row = factor * (row - place)
        table = table - column[:, :, None] * row[:, None, :]
        values = values - column * (factor * least)
        return table, values, ops.abs(face - place)

    table, values, face = ops.while_loop(
        proceed,
        pivot,
        (
            ops.tile((matrix + ridge)[None], (programs, 1, 1)),
            linear,
            ops.zeros_like(linear),
        ),
        maximum_iterations=3 * tasks,
    )
    y = face * values
    # The table holds the inverse on the face: it takes away the ridge's error.
    residual = face * (product(y, matrix) + linear)
    correction = ops.sum(table * residual[:, None, :], axis=-1)
    y = ops.relu(y - face * correction)
    return ops.where(ops.isfinite(y), ops.minimum(y, MAX_VALUE), 0.0)


def product(vectors: Tensor, matrix: Tensor) -> Tensor:
    """Returns `vectors @ matrix` for a symmetric `matrix`.

    A GPU may round the factors of a matrix product to TF32; these are not.
    """
    size = matrix.shape[0] * matrix.shape[1]
    for dimension in vectors.shape[:-1]:
        size *= dimension
    if size > PRODUCT_SIZE:
        return of_backend().float32_product(vectors, matrix)
    return ops.sum(vectors[..., None, :] * matrix, axis=-1)


def unit_gramian(gramian: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the cosines of gradients, their norms, and 1 / norms.

    Where a gradient is zero, so are its row and its 1 / norm. The Gramian may
    be several, of shape `(..., T, T)`.
    """
    norms = ops.diagonal(gramian, axis1=-2, axis2=-1)
    norms = ops.sqrt(ops.relu(norms))
    nonzero = norms > 0
    inverse_norms = ops.where(
        nonzero, 1.0 / ops.where(nonzero, norms, 1.0), 0.0
    )
    cosines = inverse_norms[..., None] * gramian * inverse_norms[..., None, :]
    identity = ops.eye(gramian.shape[-1])
    # The diagonal is set to 1, from which the square roots are off by rounding.
    cosines = ops.clip(cosines, -1.0, 1.0) * (1.0 - identity)
    diagonal = identity * ops.cast(nonzero, "float32")[..., None, :]
    return cosines + diagonal, norms, inverse_norms


def _residual(y, gradient):
    return ops.abs(y - ops.relu(y - gradient))


def _is_live(y, gradient, tolerance):
    largest = ops.max(y, axis=-1, keepdims=True)
    residual = ops.max(_residual(y, gradient), axis=-1, keepdims=True)
    return (residual > tolerance * (1.0 + largest)) & (largest < MAX_VALUE)


def _face(y, gradient, together):
    """Returns which variables move, as 0 and 1."""
    positive = y > 0
    violation = ops.where(positive, 0.0, ops.relu(-gradient))
    largest = ops.max(violation, axis=-1, keepdims=True)
    inside = ops.where(positive, ops.abs(gradient), 0.0)
    # One variable enters only where the face is at its minimum. Only from there
    # does the step to the minimum of the larger face surely make it positive.
    at_minimum = ops.max(inside, axis=-1, keepdims=True) <= largest
    one = (violation >= largest) & at_minimum
    enters = (violation > 0) & (together | one)
    return ops.cast(positive | enters, "float32")


def _solve(matrix, face, gradient):
    identity = ops.eye(matrix.shape[0])
    on_face = face[:, :, None] * matrix * face[:, None, :]
    rest = (1.0 + RIDGE - face)[:, :, None] * identity
    return solve_positive_definite(on_face + rest, -face * gradient)


def _conjugate_gradients(matrix, face, gradient, steps=8):
    residual = -face * gradient
    direction, step = residual, ops.zeros_like(residual)
    squared = ops.sum(residual * residual, axis=-1, keepdims=True)
    for _ in range(steps):
        image = face * product(direction, matrix) + RIDGE * direction
        curvature = ops.sum(direction * image, axis=-1, keepdims=True)
        # Below the rounding of float32, there is nothing to gain.
        length = ops.where(
            squared > 1e-20, squared / ops.maximum(curvature, 1e-30), 0.0
        )
        step = step + length * direction
        residual = residual - length * image
        previous = ops.maximum(squared, 1e-30)
        squared = ops.sum(residual * residual, axis=-1, keepdims=True)
        direction = residual + squared / previous * direction
    return step


def _search(matrix, y, gradient, direction):
    """The lowest of a few points, whether it is lower, and at full length."""
    shrinks = (direction < 0) & (y > 0)
    ratios = -y / ops.where(shrinks, direction, -1.0)
    to_bound = ops.min(ops.where(shrinks, ratios, 1.0), axis=-1, keepdims=True)
    to_bound = ops.minimum(to_bound, 1.0)
    one = ops.ones_like(to_bound)
    lengths = ops.stack([one, one / 4, one / 16, to_bound])
    # The last point moves one variable alone, which still lowers the objective
    # where rounding spoils the direction.
    residual = _residual(y, gradient)
    worst = residual >= ops.max(residual, axis=-1, keepdims=True)
    diagonal = ops.maximum(ops.diagonal(matrix), 1.0)
    single = ops.where(worst, -gradient / diagonal, 0.0)
    points = ops.relu(
        ops.concatenate([y + lengths * direction, (y + single)[None]])
    )
    change = points - y
    slopes = gradient + 0.5 * product(change, matrix)
    values = ops.sum(change * slopes, axis=-1, keepdims=True)
    best = ops.argmin(values[:-1], axis=0)
    stuck = ops.min(values[:-1], axis=0) >= 0
    best = ops.where(stuck, 4, best)
    point = ops.take_along_axis(points, best[None], axis=0)[0]
    value = ops.take_along_axis(values, best[None], axis=0)[0]
    return point, value < 0, ops.equal(best, 0)
