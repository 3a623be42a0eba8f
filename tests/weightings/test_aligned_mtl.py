import numpy as np
import pytest

from keras_mtl.weightings import AlignedMTL
from tests.weightings.gradients import direction_of
from tests.weightings.gradients import steps
from tests.weightings.gradients import weights_of

pytestmark = pytest.mark.quick_on_torch


def aligned(jacobian, preference, scale):
    """By the singular values of the gradients: J = U S Vt becomes s U Vt."""
    left, singular, right = np.linalg.svd(jacobian, full_matrices=False)
    rank = (singular > 1e-4 * singular.max()).sum()
    left, singular, right = left[:, :rank], singular[:rank], right[:rank]
    length = {
        "min": singular.min(),
        "median": np.sort(singular)[(rank - 1) // 2],
        "mean": np.sqrt(np.mean(singular**2)),
    }[scale]
    return length * preference @ (left @ right)


@pytest.mark.every_backend
@pytest.mark.parametrize("scale", ["min", "median", "mean"])
@pytest.mark.parametrize("preference", [None, [0.1, 0.4, 0.0, 1.0, 2.0]])
def test_sums_the_nearest_orthogonal_gradients(preference, scale):
    aligned_mtl = AlignedMTL(preference, scale)
    weights = np.ones(5) if preference is None else np.array(preference)
    for jacobian in steps():
        expected = aligned(jacobian, weights, scale)
        error = direction_of(aligned_mtl, jacobian) - expected
        # Relative to the largest, float32 rounds the least eigenvalue.
        rounding = 1e-5 + 1e-7 * np.linalg.cond(jacobian @ jacobian.T)
        assert np.abs(error).max() <= rounding * np.linalg.norm(expected)


@pytest.mark.parametrize("scale", ["min", "median", "mean"])
@pytest.mark.parametrize("size", [1e-8, 1.0, 1e8])
def test_dependent_gradients(size, scale):
    jacobian = size * steps()[0][[0, 1, 2, 0, 1]]
    expected = aligned(jacobian, np.ones(5), scale)
    np.testing.assert_allclose(
        direction_of(AlignedMTL(scale=scale), jacobian),
        expected,
        atol=1e-4 * np.linalg.norm(expected),
    )


def test_orthogonal_gradients_get_the_least_length():
    jacobian = np.diag([1.0, 3.0, 9.0])
    np.testing.assert_allclose(
        direction_of(AlignedMTL(), jacobian), np.ones(3), rtol=1e-5
    )


def test_zero_gradients_have_the_preference_as_weights():
    weights = weights_of(AlignedMTL([1.0, 2.0]), np.zeros((2, 3)))
    np.testing.assert_array_equal(weights, [1.0, 2.0])


def test_names_a_bad_scale():
    with pytest.raises(ValueError, match="Received: scale='rmse'"):
        AlignedMTL(scale="rmse")
