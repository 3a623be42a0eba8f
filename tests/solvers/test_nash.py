import doctest
import functools

import keras
import numpy as np
import pytest
from keras import ops

from keras_mtl.solvers import nash
from keras_mtl.solvers import nash_bargaining

pytestmark = pytest.mark.quick_on_torch

NUM_TASKS = (2, 3, 11, 40, 100)


def make_gradients(num_tasks, size, common=0.0, scale=1.0, seed=0):
    rng = np.random.default_rng(seed)
    gradients = rng.normal(size=(num_tasks, size))
    gradients += common * rng.normal(size=size)
    return (gradients * scale).astype("float32")


def gramian_of(gradients):
    gradients = gradients.astype("float64")
    return (gradients @ gradients.T).astype("float32")


def compiled_variants(function):
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return [
            tf.function(function, jit_compile=False),
            tf.function(function, jit_compile=True),
        ]
    if keras.backend.backend() == "jax":
        import jax

        return [jax.jit(function)]
    return [function]


@functools.cache
def fast_solver(max_steps):
    # Outside a compiled function JAX compiles the loop again at every call.
    return compiled_variants(
        functools.partial(nash_bargaining, max_steps=max_steps)
    )[0]


def solve(gramian, max_steps=40):
    gramian = ops.convert_to_tensor(gramian, dtype="float32")
    return ops.convert_to_numpy(fast_solver(max_steps)(gramian))


def residual(gramian, alpha):
    alpha = alpha.astype("float64")
    return np.max(np.abs(alpha * (gramian.astype("float64") @ alpha) - 1))


def newton(gramian, alpha):
    """The solution in float64, of which there is one, from one next to it."""
    for _ in range(6):
        error = alpha * (gramian @ alpha) - 1
        slope = alpha[:, None] * gramian * alpha
        slope += np.diag(1 + error)
        alpha = alpha * np.exp(-np.linalg.solve(slope, error))
    return alpha


@pytest.mark.quick_on_torch(1)
@pytest.mark.diagonal
@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
@pytest.mark.parametrize("dimensions_per_task", [1, 2, 25])
@pytest.mark.parametrize("num_tasks", NUM_TASKS)
def test_relative_residual(num_tasks, dimensions_per_task, scale):
    size = num_tasks * dimensions_per_task
    gramian = gramian_of(make_gradients(num_tasks, size, scale=scale))
    alpha = solve(gramian)
    assert np.all(alpha > 0)
    assert residual(gramian, alpha) <= 1e-4


@pytest.mark.parametrize("num_tasks", NUM_TASKS)
def test_scales_that_differ_among_tasks(num_tasks):
    scale = np.logspace(-8, 8, num_tasks)[:, None]
    gramian = gramian_of(make_gradients(num_tasks, 1000, scale=scale))
    assert residual(gramian, solve(gramian)) <= 1e-4


@pytest.mark.diagonal
@pytest.mark.parametrize("common", [0.0, 1.0, 10.0])
@pytest.mark.parametrize("dimensions_per_task", [1, 25])
@pytest.mark.parametrize("num_tasks", NUM_TASKS)
def test_direction_is_next_to_that_in_float64(
    num_tasks, dimensions_per_task, common
):
    size = num_tasks * dimensions_per_task
    gradients = make_gradients(num_tasks, size, common).astype("float64")
    gramian = gramian_of(gradients)
    alpha = solve(gramian)
    exact = newton(gramian.astype("float64"), alpha.astype("float64"))
    assert residual(gramian, exact) <= 1e-12
    direction, expected = alpha @ gradients, exact @ gradients
    error = np.linalg.norm(direction - expected)
    assert error <= 1e-6 * np.linalg.norm(expected)
    assert np.all(gradients @ direction > 0)


@pytest.mark.parametrize("angle", [0.0, 1.0, 1.5, 2.0, 3.0])
def test_two_tasks_match_the_closed_form(angle):
    norms = np.array([1e-3, 20.0])
    cosine = np.cos(angle)
    gramian = np.outer(norms, norms) * [[1.0, cosine], [cosine, 1.0]]
    expected = 1 / (norms * np.sqrt(1 + cosine))
    # 1 + cosine is 0.01 at 3 radians: float32 keeps five digits of it.
    np.testing.assert_allclose(solve(gramian), expected, rtol=1e-4)


def test_orthogonal_gradients_get_their_inverse_norms():
    norms = np.array([1e-16, 1e-3, 1.0, 1e16])
    np.testing.assert_allclose(solve(np.diag(norms**2)), 1 / norms, rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-16, 1e16])
def test_extreme_scale_changes_only_the_scale(scale):
    gradients = make_gradients(11, 100)
    expected = solve(gramian_of(gradients)) / scale
    alpha = solve(gramian_of(gradients * np.float32(scale)))
    np.testing.assert_allclose(alpha, expected, rtol=1e-5)


def test_permuted_tasks_get_permuted_weights():
    gramian = gramian_of(make_gradients(11, 11))
    order = np.random.default_rng(1).permutation(11)
    # The weights of 11 gradients in 11 dimensions amplify the rounding.
    np.testing.assert_allclose(
        solve(gramian[order][:, order]), solve(gramian)[order], rtol=1e-4
    )


def test_zero_gradients_do_not_disturb_the_others():
    gradients = make_gradients(5, 20)
    gradients[[1, 4]] = 0.0
    alpha = solve(gramian_of(gradients))
    expected = solve(gramian_of(gradients[[0, 2, 3]]))
    np.testing.assert_array_equal(alpha[[1, 4]], 0.0)
    np.testing.assert_allclose(alpha[[0, 2, 3]], expected, rtol=1e-5)


def test_duplicated_gradients_bargain_as_one_stronger_task():
    gradients = np.eye(2, dtype="float32")[[0, 0, 1]]
    # alpha_0 = alpha_1 = a with a * 2 a = 1.
    np.testing.assert_allclose(
        solve(gramian_of(gradients)), [0.5**0.5, 0.5**0.5, 1.0], rtol=1e-5
    )


SINGULAR = {
    "all zero": lambda j: 0 * j,
    "duplicated": lambda j: j[[0] * len(j)],
    "opposite": lambda j: np.concatenate([j[:1], -j[:-1]]),
    "rank one": lambda j: j[:1] * np.arange(-2.0, len(j) - 2)[:, None],
    "rank two": lambda j: j[:, :2] @ j[:2],
    "zero sum": lambda j: j - j.mean(axis=0),
}


@pytest.mark.diagonal
@pytest.mark.parametrize("scale", [1e-16, 1.0, 1e16])
@pytest.mark.parametrize("name", SINGULAR)
@pytest.mark.parametrize("num_tasks", [2, 3, 40])
def test_singular_gramian_gives_finite_weights(num_tasks, name, scale):
    gradients = make_gradients(num_tasks, 50).astype("float64")
    gramian = gramian_of(SINGULAR[name](gradients) * scale)
    alpha = solve(gramian)
    assert np.all(np.isfinite(alpha))
    np.testing.assert_array_equal(alpha > 0, np.diag(gramian) > 0)


def test_opposite_gradients_cancel():
    gradients = np.array([[1.0, 2.0], [-10.0, -20.0]])
    alpha = solve(gramian_of(gradients)).astype("float64")
    direction = alpha @ gradients
    assert np.linalg.norm(direction) < 1e-5 * alpha[0] * np.sqrt(5.0)


def test_a_gramian_with_negative_eigenvalues_gives_finite_weights():
    noise = np.random.default_rng(0).normal(size=(40, 40))
    gramian = gramian_of(make_gradients(40, 10)) + noise + noise.T
    assert np.linalg.eigvalsh(gramian).min() < -1
    alpha = solve(gramian)
    assert np.all(np.isfinite(alpha)) and np.all(alpha > 0)


@pytest.mark.parametrize("num_tasks", [3, 11, 100])
def test_ten_steps_are_enough_for_random_gradients(num_tasks):
    gramian = gramian_of(make_gradients(num_tasks, num_tasks))
    np.testing.assert_array_equal(
        solve(gramian, max_steps=10), solve(gramian, max_steps=40)
    )


@pytest.mark.parametrize("size", [11, 1000])
def test_compiled_weights_solve_the_problem(size):
    gramian = gramian_of(make_gradients(11, size))
    for function in compiled_variants(nash_bargaining):
        alpha = ops.convert_to_numpy(function(ops.convert_to_tensor(gramian)))
        assert alpha.dtype == "float32"
        assert residual(gramian, alpha) <= 1e-4


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_data_types_are_solved_in_float32(dtype):
    gramian = np.array([[4.0, 0.0], [0.0, 0.25]])
    alpha = nash_bargaining(ops.convert_to_tensor(gramian, dtype=dtype))
    assert keras.backend.standardize_dtype(alpha.dtype) == "float32"
    np.testing.assert_allclose(ops.convert_to_numpy(alpha), [0.5, 2.0])


def test_example_of_the_docstring():
    result = doctest.testmod(nash, extraglobs={"np": np})
    assert result.attempted > 0
    assert result.failed == 0
