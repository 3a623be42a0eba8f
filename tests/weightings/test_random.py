import numpy as np
import pytest

from keras_mtl.weightings import Random

pytestmark = pytest.mark.quick_on_torch

LOSSES = np.ones(3, "float32")


def draw(seed, count):
    weighting = Random(seed)
    return np.stack([np.array(weighting(LOSSES)) for _ in range(count)])


@pytest.mark.every_backend
def test_weights_are_positive_and_sum_to_the_number_of_tasks():
    weights = draw(0, 20)
    assert np.all(weights > 0)
    np.testing.assert_allclose(weights.sum(axis=1), 3.0, rtol=1e-5)


def test_logits_are_standard_normal():
    # Logarithms of ratios of weights are differences of two logits.
    weights = draw(0, 1000)
    differences = np.log(weights[:, 0] / weights[:, 1])
    # Four standard errors of the mean and of the variance of 1000 normals.
    assert abs(differences.mean()) < 4 * np.sqrt(2 / 1000)
    assert abs(differences.var() - 2) < 4 * 2 * np.sqrt(2 / 1000)


def test_the_seed_decides():
    np.testing.assert_array_equal(draw(1, 3), draw(1, 3))
    assert not np.allclose(draw(1, 3), draw(2, 3))
