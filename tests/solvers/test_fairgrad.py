import numpy as np
import pytest
from keras import ops

from keras_mtl.solvers import nash_bargaining
from keras_mtl.solvers.fairgrad import fair_weights
from tests.solvers.problems import KINDS
from tests.solvers.problems import SINGULAR
from tests.solvers.problems import as_float32
from tests.solvers.problems import compiled_with_xla
from tests.solvers.problems import gramian_of
from tests.solvers.problems import normal
from tests.solvers.problems import solve

pytestmark = pytest.mark.quick_on_torch

ALPHAS = [0.5, 1.0, 2.0, 5.0]


def weights_of(gradients, alpha):
    return solve(fair_weights, gramian_of(gradients), alpha)


def residual(gramian, w, alpha):
    """How far `G @ w = w ** (-1 / alpha)` is from holding, in units of 1."""
    return (gramian @ w) * w ** (1 / alpha) - 1


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_tasks", [2, 11, 128])
def test_residual_of_the_equation(num_tasks, kind):
    gradients = as_float32(KINDS[kind](num_tasks))
    for alpha in ALPHAS:
        w = weights_of(gradients, alpha)
        assert np.all(w > 0)
        relative = (gradients @ (w @ gradients)) * w ** (1 / alpha) - 1
        # The rounding of the sum, which is of numbers larger than itself.
        size = (np.abs(gradients @ gradients.T) @ w) * w ** (1 / alpha)
        assert np.all(np.abs(relative) <= 2e-6 * (10 + size)), alpha


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("num_tasks", [2, 11])
def test_is_next_to_the_solution_in_float64(num_tasks, alpha):
    gradients = as_float32(normal(num_tasks, 3 * num_tasks))
    gradients *= np.linspace(0.5, 2.0, num_tasks)[:, None]
    gramian = gramian_of(gradients).astype("float64")
    w = solve(fair_weights, gramian, alpha)
    assert np.abs(residual(gramian, w, alpha)).max() <= 2e-6
    # Newton's method on the logarithms of the weights comes to the solution,
    # of which there is one, since the problem is strictly convex.
    exact = w
    for _ in range(4):
        error = residual(gramian, exact, alpha)
        slope = gramian * exact * exact[:, None] ** (1 / alpha)
        slope += np.diag((1 + error) / alpha)
        exact = exact * np.exp(-np.linalg.solve(slope, error))
    assert np.abs(residual(gramian, exact, alpha)).max() <= 1e-12
    np.testing.assert_allclose(w, exact, rtol=2e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_alpha_1_is_nash_bargaining(kind):
    gradients = as_float32(KINDS[kind](11))
    direction = weights_of(gradients, 1.0) @ gradients
    expected = solve(nash_bargaining, gramian_of(gradients)) @ gradients
    error = np.linalg.norm(direction - expected)
    assert error <= 1e-4 * np.linalg.norm(expected)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_orthogonal_gradients(alpha):
    norms = np.logspace(-6, 6, 11)
    expected = norms ** (-2 / (1 + 1 / alpha))
    np.testing.assert_allclose(
        weights_of(np.diag(norms), alpha), expected, rtol=2e-5
    )


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("scale", [1e-16, 1e-6, 1e6, 1e16])
def test_common_scale_changes_only_the_scale(scale, alpha):
    gradients = normal(11, 20)
    expected = weights_of(gradients, alpha) * scale ** (-2 / (1 + 1 / alpha))
    np.testing.assert_allclose(
        weights_of(gradients * scale, alpha), expected, rtol=1e-4
    )


@pytest.mark.parametrize("name", SINGULAR)
@pytest.mark.parametrize("num_tasks", [2, 11])
def test_singular_gramian_gives_finite_weights(num_tasks, name):
    gradients = SINGULAR[name](normal(num_tasks, 50))
    for scale in (1e-16, 1.0, 1e16):
        gramian = gramian_of(gradients * scale)
        for alpha in ALPHAS:
            w = solve(fair_weights, gramian, alpha)
            assert np.all(np.isfinite(w))
            np.testing.assert_array_equal(w > 0, np.diag(gramian) > 0)


def test_zero_gradients_do_not_disturb_the_others():
    gradients = normal(11, 20)
    gradients[2:] = 0.0
    w = weights_of(gradients, 2.0)
    np.testing.assert_array_equal(w[2:], 0.0)
    np.testing.assert_allclose(w[:2], weights_of(gradients[:2], 2.0), rtol=1e-5)


def test_with_xla():
    gramian = gramian_of(normal(11, 20))
    w = compiled_with_xla(fair_weights)(ops.convert_to_tensor(gramian))
    np.testing.assert_allclose(
        ops.convert_to_numpy(w), solve(fair_weights, gramian), rtol=1e-5
    )
