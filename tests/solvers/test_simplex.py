import numpy as np
import pytest
import scipy.optimize
from keras import ops

from keras_mtl.solvers.simplex import simplex_qp
from tests.solvers.problems import KINDS
from tests.solvers.problems import SINGULAR
from tests.solvers.problems import as_float32
from tests.solvers.problems import compiled_with_xla
from tests.solvers.problems import gramian_of
from tests.solvers.problems import normal
from tests.solvers.problems import solve

pytestmark = pytest.mark.quick_on_torch


def min_norm(gradients):
    return solve(simplex_qp, gramian_of(gradients))


def scipy_min_norm(gradients):
    """Non-negative least squares finds the vector most opposed to the hull.

    The residual r of `min norm(J.T @ y)**2 + (sum(y) - 1)**2` over y >= 0 is at
    the y proportional to the weights of least norm (Lawson and Hanson, 1974,
    chapter 23).
    """
    scale = np.linalg.norm(gradients, axis=1).min()
    system = np.concatenate([gradients.T / scale, np.ones((1, len(gradients)))])
    target = np.append(np.zeros(gradients.shape[1]), 1.0)
    weights, _ = scipy.optimize.nnls(system, target, maxiter=10000)
    return weights / weights.sum()


def condition_error(gradients, alpha):
    """The error of `<g_i, d> >= norm(d)**2`, and `=` where alpha > 0.

    In units of a gradient's norm and the least norm.
    """
    norms = np.linalg.norm(gradients, axis=1)
    direction = alpha @ gradients
    slack = (gradients @ direction - direction @ direction) / norms
    slack /= norms.min()
    shortfall = np.maximum(-slack, 0).max()
    active = alpha * norms / norms.min()
    return max(shortfall, np.minimum(np.abs(slack), active).max())


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_tasks", [2, 11, 40, 128])
def test_optimality_conditions(num_tasks, kind):
    gradients = as_float32(KINDS[kind](num_tasks))
    alpha = min_norm(gradients)
    assert np.all(alpha >= 0)
    assert alpha.sum() == pytest.approx(1, abs=1e-6)
    assert condition_error(gradients, alpha) <= 5e-6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_tasks", [2, 11, 40])
def test_direction_of_least_norm_matches_scipy(num_tasks, kind):
    gradients = as_float32(KINDS[kind](num_tasks))
    expected = scipy_min_norm(gradients) @ gradients
    error = np.linalg.norm(min_norm(gradients) @ gradients - expected)
    assert error <= 1e-5 * np.linalg.norm(gradients, axis=1).min()


@pytest.mark.parametrize("first, second", [(1.0, 1.0), (1e-4, 10.0)])
@pytest.mark.parametrize("angle", [0.1, 1.0, 1.57, 2.0, 3.0])
def test_two_tasks_match_the_closed_form(angle, first, second):
    gradients = np.array(
        [[first, 0.0], [second * np.cos(angle), second * np.sin(angle)]]
    )
    difference = gradients[1] - gradients[0]
    share = gradients[1] @ difference / (difference @ difference)
    expected = np.clip([share, 1 - share], 0, 1)
    np.testing.assert_allclose(
        min_norm(gradients) @ gradients,
        expected @ gradients,
        atol=1e-6 * min(first, second),
    )


def test_orthogonal_gradients_get_their_inverse_squared_norms():
    norms = np.logspace(-8, 8, 11)
    expected = norms**-2 / (norms**-2).sum()
    np.testing.assert_allclose(
        min_norm(np.diag(norms)), expected, rtol=1e-5, atol=1e-37
    )


def test_the_hull_that_contains_zero():
    gradients = as_float32(normal(40, 5))
    alpha = min_norm(gradients)
    norms = np.linalg.norm(gradients, axis=1)
    assert np.linalg.norm(alpha @ gradients) <= 1e-6 * norms.min()


@pytest.mark.parametrize("kind", ["wide", "square", "agreeing"])
@pytest.mark.parametrize("num_tasks", [2, 11])
def test_linear_term(num_tasks, kind):
    gramian = gramian_of(as_float32(KINDS[kind](num_tasks))).astype("float64")
    for spread in (0.01, 1.0, 100.0):
        linear = spread * np.random.default_rng(1).normal(size=num_tasks)
        alpha = solve(simplex_qp, gramian, linear)
        assert np.all(alpha >= 0)
        assert alpha.sum() == pytest.approx(1, abs=1e-6)
        # The objective is convex: it is above the least one by no more than
        # its slope from here to the best vertex.
        slope = gramian @ alpha + linear
        size = gramian.max() + np.abs(linear).max()
        assert alpha @ slope - slope.min() <= 1e-6 * size


def test_linear_term_in_the_range_moves_the_hull():
    gradients, point = normal(11, 20), normal(1, 20, seed=1)[0]
    alpha = solve(simplex_qp, gramian_of(gradients), gradients @ point)
    np.testing.assert_allclose(alpha, min_norm(gradients + point), atol=1e-5)


@pytest.mark.parametrize("scale", [1e-16, 1e-6, 1e6, 1e16])
def test_common_scale_changes_nothing(scale):
    gradients = normal(11, 20)
    np.testing.assert_allclose(
        min_norm(gradients * scale), min_norm(gradients), atol=1e-6
    )


def test_permuted_tasks_get_permuted_weights():
    gradients = normal(11, 15)
    order = np.random.default_rng(1).permutation(11)
    np.testing.assert_allclose(
        min_norm(gradients[order]), min_norm(gradients)[order], atol=1e-5
    )


@pytest.mark.parametrize("name", SINGULAR)
@pytest.mark.parametrize("num_tasks", [2, 11])
def test_singular_gramian(num_tasks, name):
    for scale in (1e-16, 1.0, 1e16):
        gradients = SINGULAR[name](normal(num_tasks, 50)) * scale
        alpha = min_norm(gradients)
        assert np.all(np.isfinite(alpha)) and np.all(alpha >= 0)
        assert alpha.sum() == pytest.approx(1, abs=1e-6)
        kept = np.linalg.norm(gradients, axis=1) > 0
        if kept.any():
            np.testing.assert_array_equal(alpha[~kept], 0.0)
            assert condition_error(gradients[kept], alpha[kept]) <= 5e-6


def test_zero_gradients_do_not_disturb_the_others():
    gradients = normal(11, 20)
    gradients[2:] = 0.0
    alpha = min_norm(gradients)
    np.testing.assert_array_equal(alpha[2:], 0.0)
    np.testing.assert_allclose(alpha[:2], min_norm(gradients[:2]), rtol=1e-5)


def test_with_xla():
    gramian = gramian_of(normal(11, 20))
    alpha = compiled_with_xla(simplex_qp)(ops.convert_to_tensor(gramian))
    np.testing.assert_allclose(
        ops.convert_to_numpy(alpha), solve(simplex_qp, gramian), atol=1e-6
    )
