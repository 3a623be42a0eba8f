import numpy as np
import pytest
from scipy import stats
from scipy.optimize import approx_fprime

from keras_mtl.weightings import GeometricMean

pytestmark = pytest.mark.quick_on_torch


def weights_of(losses, **kwargs):
    return np.array(GeometricMean(**kwargs)(np.asarray(losses, "float32")))


@pytest.mark.every_backend
@pytest.mark.parametrize("num_tasks", [2, 5])
def test_is_the_gradient_of_the_geometric_mean(num_tasks):
    rng = np.random.default_rng(0)
    for losses in rng.uniform(0.1, 4.0, (20, num_tasks)):
        expected = approx_fprime(losses, stats.gmean, 1e-7)
        # The tolerance is that of finite differences with a step of 1e-7.
        np.testing.assert_allclose(weights_of(losses), expected, rtol=1e-5)


def test_weighted_losses_are_equal_and_sum_to_the_mean():
    losses = np.random.default_rng(0).lognormal(sigma=4.0, size=11)
    np.testing.assert_allclose(
        weights_of(losses) * losses, stats.gmean(losses) / 11, rtol=1e-5
    )


def test_products_outside_of_float32_do_no_harm():
    losses = np.array([1e30] * 3 + [1e-30] * 3 + [2.0])
    np.testing.assert_allclose(
        weights_of(losses) * losses, stats.gmean(losses) / 7, rtol=1e-5
    )


def test_mean_is_that_of_the_labelled_tasks():
    np.testing.assert_allclose(
        weights_of([0.5, 0.0, 2.0]), [1.0, 0.0, 0.25], rtol=1e-6
    )
    np.testing.assert_array_equal(weights_of([0.0, 0.0]), 0.0)


def test_is_scale_invariant_by_itself():
    losses = [0.5, 2.0, 7.0]
    np.testing.assert_array_equal(
        weights_of(losses, scale_invariant=True), weights_of(losses)
    )
