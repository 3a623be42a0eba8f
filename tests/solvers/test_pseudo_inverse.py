import numpy as np
import pytest

from keras_mtl.solvers.pseudo_inverse import pseudo_solve
from tests.solvers.problems import SINGULAR
from tests.solvers.problems import gramian_of
from tests.solvers.problems import normal
from tests.solvers.problems import solve

pytestmark = pytest.mark.quick_on_torch


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("scale", [1e-16, 1.0, 1e16])
@pytest.mark.parametrize("size", [11, 30])
def test_is_the_pseudo_inverse(size, scale):
    gradients = normal(11, size) * scale
    gramian = gramian_of(gradients).astype("float64")
    expected = np.linalg.pinv(gramian) @ np.ones(11)
    error = solve(pseudo_solve, gramian, np.ones(11)) - expected
    condition = np.linalg.cond(gramian)
    assert np.abs(error).max() <= 2e-7 * condition * np.abs(expected).max()


@pytest.mark.parametrize("scale", [1e-16, 1.0, 1e16])
@pytest.mark.parametrize("name", SINGULAR)
def test_singular_matrices(name, scale):
    gradients = SINGULAR[name](normal(11, 50))
    gramian = gramian_of(gradients * scale)
    vector = np.arange(11.0)
    solution = solve(pseudo_solve, gramian, vector)
    expected = np.linalg.pinv(gradients @ gradients.T, rcond=1e-5) @ vector
    np.testing.assert_allclose(
        solution * scale**2, expected, atol=1e-4 * np.abs(expected).max()
    )


def test_small_eigenvalues_are_taken_for_zero():
    solution = solve(pseudo_solve, np.diag([1.0, 1e-3, 1e-8]), np.ones(3))
    np.testing.assert_allclose(solution, [1, 1e3, 0], rtol=1e-6)
