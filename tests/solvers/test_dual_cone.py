import numpy as np
import pytest
import scipy.optimize
from keras import ops

from keras_mtl.solvers.dual_cone import dual_cone_projection
from keras_mtl.solvers.nonnegative import product
from tests.solvers.problems import KINDS
from tests.solvers.problems import SINGULAR
from tests.solvers.problems import as_float32
from tests.solvers.problems import compiled_with_xla
from tests.solvers.problems import gramian_of
from tests.solvers.problems import normal
from tests.solvers.problems import solve

pytestmark = pytest.mark.quick_on_torch


def project(gradients, vectors=None):
    vectors = np.eye(len(gradients)) if vectors is None else vectors
    return solve(dual_cone_projection, gramian_of(gradients), vectors)


def scipy_direction(gradients, vector):
    """The projection of `gradients.T @ vector`, by Moreau's decomposition.

    It is the vector minus its projection onto the polar cone, which the
    gradients with reversed signs generate: a non-negative least squares problem
    in the gradients themselves, not in their Gramian.
    """
    combined = gradients.T @ vector
    coefficients, _ = scipy.optimize.nnls(-gradients.T, combined)
    return combined + gradients.T @ coefficients


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_tasks", [2, 11, 40])
def test_is_the_projection(num_tasks, kind):
    gradients = as_float32(KINDS[kind](num_tasks))
    norms = np.linalg.norm(gradients, axis=1)
    directions = project(gradients) @ gradients
    for i in range(0, num_tasks, max(1, num_tasks // 5)):
        expected = scipy_direction(gradients, np.eye(num_tasks)[i])
        # The weights of nearly opposite gradients amplify the rounding.
        np.testing.assert_allclose(
            directions[i] / norms[i], expected / norms[i], atol=2e-5
        )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_tasks", [2, 11, 40])
def test_optimality_conditions(num_tasks, kind):
    check_conditions(KINDS[kind](num_tasks))


def test_optimality_conditions_of_128_tasks():
    check_conditions(KINDS["wide"](128))


def check_conditions(gradients):
    gradients = as_float32(gradients)
    norms = np.linalg.norm(gradients, axis=1)
    gradients /= norms[:, None]
    weights = project(gradients)
    added = weights - np.eye(len(weights))
    assert np.all(added >= 0)
    improvements = weights @ gradients @ gradients.T
    largest = 1 + added.max(axis=1, keepdims=True)
    assert np.all(improvements >= -2e-6 * largest)
    assert np.all(np.minimum(added, improvements) <= 2e-6 * largest)


def test_vectors_are_projected_apart_from_each_other():
    gradients = normal(11, 20)
    vectors = np.random.default_rng(1).uniform(size=(3, 11))
    together = project(gradients, vectors)
    for vector, weights in zip(vectors, together):
        alone = project(gradients, np.stack([vector] * 3))
        np.testing.assert_allclose(alone, [weights] * 3, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-16, 1e-6, 1e6, 1e16])
def test_common_scale_changes_nothing(scale):
    gradients = normal(11, 20)
    np.testing.assert_allclose(
        project(gradients * scale), project(gradients), rtol=1e-4, atol=1e-6
    )


def test_gradients_that_do_not_conflict_are_left_as_they_are():
    gradients = np.abs(normal(11, 20))
    np.testing.assert_array_equal(project(gradients), np.eye(11))


def test_conflict_of_two_is_removed_as_gram_and_schmidt_do():
    first, second = normal(2, 9)
    second -= (first @ second + 1.0) * first / (first @ first)
    weights = project(np.stack([first, second]))
    expected = [
        [1, 1 / (second @ second)],
        [1 / (first @ first), 1],
    ]
    np.testing.assert_allclose(weights, expected, rtol=1e-5)


@pytest.mark.parametrize("name", SINGULAR)
@pytest.mark.parametrize("num_tasks", [2, 11])
def test_singular_gramian_gives_finite_weights(num_tasks, name):
    for scale in (1e-16, 1.0, 1e16):
        gradients = SINGULAR[name](normal(num_tasks, 50)) * scale
        weights = project(gradients)
        assert np.all(np.isfinite(weights))
        norms = np.linalg.norm(gradients, axis=1)
        improvements = weights @ gradients @ gradients.T
        # In units of what cancels: the direction itself may be zero.
        tolerance = 2e-6 * np.outer(weights @ norms, norms)
        assert np.all(improvements >= -tolerance)


def test_zero_gradients_do_not_disturb_the_others():
    gradients = normal(11, 20)
    gradients[2:] = 0.0
    weights = project(gradients)
    np.testing.assert_allclose(
        weights[:2, :2], project(gradients[:2]), rtol=1e-5
    )
    np.testing.assert_array_equal(weights[2:], np.eye(11)[2:])


def test_a_gramian_with_negative_eigenvalues_gives_finite_weights():
    noise = np.random.default_rng(0).normal(size=(11, 11))
    gramian = gramian_of(normal(11, 5)) + noise + noise.T
    assert np.linalg.eigvalsh(gramian).min() < -1
    weights = solve(dual_cone_projection, gramian, np.eye(11))
    assert np.all(np.isfinite(weights))


def test_with_xla():
    gramian = gramian_of(normal(11, 20))
    weights = compiled_with_xla(dual_cone_projection)(
        ops.convert_to_tensor(gramian), ops.eye(11)
    )
    expected = solve(dual_cone_projection, gramian, np.eye(11))
    np.testing.assert_allclose(
        ops.convert_to_numpy(weights), expected, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("num_tasks", [3, 60])
def test_products_are_those_of_float32(num_tasks):
    rng = np.random.default_rng(0)
    matrix = gramian_of(as_float32(rng.normal(size=(num_tasks, 8))))
    vectors = rng.normal(size=(2, num_tasks, num_tasks)).astype("float32")
    expected = vectors.astype("float64") @ np.asarray(matrix, "float64")
    found = ops.convert_to_numpy(
        product(ops.convert_to_tensor(vectors), ops.convert_to_tensor(matrix))
    )
    assert found.dtype == "float32"
    tolerance = 1e-6 * np.abs(vectors).max() * np.abs(matrix).sum(axis=0).max()
    np.testing.assert_allclose(found, expected, atol=tolerance)
