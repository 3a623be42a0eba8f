"""Quadratic programs over the non-negative orthant."""

from keras import ops

# In the Newton matrix alone, where it costs no accuracy: above the rounding
# of float32, it keeps the matrix of a singular face invertible.
RIDGE = 1e-5
# A program that is not bounded below ends here.
MAX_VALUE = 1e4
# Above this size of the faces' matrices, conjugate gradients come first.
DIRECT_SIZE = 2**18
# Above this size, a sum of products takes too much memory.
PRODUCT_SIZE = 2**20


def nonnegative_qp(matrix, linear, start=None, max_steps=100, tolerance=5e-7):
    """Minimizes `y @ matrix @ y / 2 + linear @ y` over `y >= 0`.

    The condition that it reaches is the natural residual
    `max_i |y_i - max(y_i - gradient_i, 0)| <= tolerance * (1 + max_i y_i)`, in
    float32 with entries of `matrix` of about 1. Where that is below the
    rounding of nearly singular matrices, it ends with the last decrease.

    An active-set method: each step solves for the minimum on a face exactly
    (`ops.solve`) and searches along the path to it, projected onto the orthant.
    At first all variables with a negative derivative enter the face together;
    after a step that had to be shortened, one at a time. Every step decreases
    the objective, so that no set can come back. Random Gramians of 100 tasks
    take 3 to 15 steps, nearly opposite gradients about one per task. Many large
    programs take a few steps with conjugate gradients before.

    Args:
        matrix: Positive semi-definite tensor of shape `(T, T)`, its diagonal
            between 1 and 2, or 0 where its row is (there `linear` is 0, too).
        linear: Tensor of shape `(B, T)`, one row for each of `B` programs.
        start: Where to begin, a non-negative tensor of shape `(B, T)`.
        max_steps: The largest number of steps.
        tolerance: See above.

    Returns:
        The minimizers, float32 of shape `(B, T)`.
    """
    programs, tasks = linear.shape
    start = ops.zeros_like(linear) if start is None else start

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

    state = (
        start,
        product(start, matrix) + linear,
        ops.ones((programs, 1), dtype="bool"),
        ops.ones((programs, 1), dtype="bool"),
    )
    if programs * tasks**2 > DIRECT_SIZE:
        state = ops.while_loop(
            proceed,
            make_step(_conjugate_gradients),
            state,
            maximum_iterations=16,
        )
    return ops.while_loop(
        proceed, make_step(_solve), state, maximum_iterations=max_steps
    )[0]


def product(vectors, matrix):
    """Returns `vectors @ matrix` for a symmetric `matrix`."""
    size = matrix.shape[0] * matrix.shape[1]
    for dimension in vectors.shape[:-1]:
        size *= dimension
    if size > PRODUCT_SIZE:
        return ops.matmul(vectors, matrix)
    # A matrix product may be rounded to TF32 on a GPU.
    return ops.sum(vectors[..., None, :] * matrix, axis=-1)


def unit_gramian(gramian):
    """Returns the cosines of gradients, their norms, and 1 / norms.

    Where a gradient is zero, so are its row and its 1 / norm.
    """
    norms = ops.sqrt(ops.relu(ops.diagonal(gramian)))
    nonzero = norms > 0
    inverse_norms = ops.where(
        nonzero, 1.0 / ops.where(nonzero, norms, 1.0), 0.0
    )
    cosines = inverse_norms[:, None] * gramian * inverse_norms
    identity = ops.eye(gramian.shape[0])
    # The diagonal may be off by the rounding of the square roots.
    cosines = ops.clip(cosines, -1.0, 1.0) * (1.0 - identity)
    diagonal = identity * ops.cast(nonzero, "float32")
    return cosines + diagonal, norms, inverse_norms


def _residual(y, gradient):
    return ops.abs(y - ops.relu(y - gradient))


def _is_live(y, gradient, tolerance):
    largest = ops.max(y, axis=-1, keepdims=True)
    residual = ops.max(_residual(y, gradient), axis=-1, keepdims=True)
    return (residual > tolerance * (1.0 + largest)) & (largest < MAX_VALUE)


def _face(y, gradient, together):
    """Which variables move, as 0 and 1."""
    positive = y > 0
    violation = ops.where(positive, 0.0, ops.relu(-gradient))
    largest = ops.max(violation, axis=-1, keepdims=True)
    inside = ops.where(positive, ops.abs(gradient), 0.0)
    # One enters where the face is at its minimum: it must enter downhill.
    at_minimum = ops.max(inside, axis=-1, keepdims=True) <= largest
    one = (violation >= largest) & at_minimum
    enters = (violation > 0) & (together | one)
    return ops.cast(positive | enters, "float32")


def _solve(matrix, face, gradient):
    identity = ops.eye(matrix.shape[0])
    on_face = face[:, :, None] * matrix * face[:, None, :]
    rest = (1.0 + RIDGE - face)[:, :, None] * identity
    return ops.solve(on_face + rest, -(face * gradient)[:, :, None])[:, :, 0]


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
    # Where the rounding spoils the direction, one variable still gets lower.
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
