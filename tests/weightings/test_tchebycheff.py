import numpy as np
import pytest
from scipy.optimize import approx_fprime

from keras_mtl.weightings import Tchebycheff

pytestmark = pytest.mark.quick_on_torch


def weights_of(losses, *args, **kwargs):
    return np.array(Tchebycheff(*args, **kwargs)(np.asarray(losses, "float32")))


@pytest.mark.every_backend
@pytest.mark.parametrize(
    "preference, ideal",
    [(None, None), ([0.2, 0.5, 0.3], 0.05), (None, [0.0, 0.4, -1.0])],
)
def test_is_the_gradient_of_the_largest_distance(preference, ideal):
    def scalarization(losses):
        factors = np.full(3, 1 / 3) if preference is None else preference
        return np.max(factors * (losses - (0 if ideal is None else ideal)))

    weighting = Tchebycheff(preference, ideal)
    for losses in np.random.default_rng(0).uniform(0.1, 2.0, (20, 3)):
        expected = approx_fprime(losses, scalarization, 1e-6)
        weights = np.array(weighting(losses.astype("float32")))
        # The tolerance is that of finite differences with a step of 1e-6.
        np.testing.assert_allclose(weights, expected, rtol=1e-6, atol=1e-8)


def test_tasks_without_a_label_take_no_part():
    # Below their ideal points, the others are nearer than a loss of 0.
    weights = weights_of([0.0, 0.5, 0.2], ideal=1.0)
    np.testing.assert_allclose(weights, [0, 1 / 3, 0], rtol=1e-6)
    np.testing.assert_array_equal(weights_of([0.0, 0.0]), 0.0)


def test_of_equal_distances_the_first_counts():
    np.testing.assert_array_equal(weights_of([1.0, 1.0]), [0.5, 0.0])


def test_descends_to_equal_distances():
    # The largest of λ₁ θ² and λ₂ (1 − θ)² is least where they are equal.
    preference, theta = np.array([0.7, 0.3]), 0.5
    weighting = Tchebycheff(list(preference))
    for step in range(300):
        losses = np.array([theta**2, (1 - theta) ** 2])
        slopes = np.array([2 * theta, 2 * (theta - 1)])
        weights = np.array(weighting(losses.astype("float32")))
        theta -= 0.1 / np.sqrt(step + 1) * (weights @ slopes)
    distances = preference * losses
    np.testing.assert_allclose(distances[0], distances[1], rtol=2e-2)


def test_names_bad_arguments():
    with pytest.raises(ValueError, match=r"Received: preference=\[1, 0\]"):
        Tchebycheff([1, 0])
    with pytest.raises(ValueError, match="`preference` to have one entry"):
        weights_of([1.0, 1.0, 1.0], preference=[1, 2])
    with pytest.raises(ValueError, match=r"3 tasks. Received: ideal=\[0.0\]"):
        weights_of([1.0, 1.0, 1.0], ideal=[0])
