import numpy as np
import pytest

from keras_mtl.weightings import UWSO

pytestmark = pytest.mark.quick_on_torch


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("temperature", [0.5, 20.0])
def test_is_the_softmax_of_inverse_losses(temperature):
    weighting = UWSO(temperature)
    losses = np.random.default_rng(0).uniform(0.1, 3.0, (60, 4))
    for step in losses:
        exponentials = np.exp(1 / step / temperature)
        np.testing.assert_allclose(
            weighting(step), exponentials / exponentials.sum(), rtol=1e-5
        )


def test_a_loss_that_comes_close_to_zero_takes_all():
    weighting = UWSO(1e-3)
    weights = np.array(weighting(np.array([1e-36, 1.0, 0.0])))
    np.testing.assert_array_equal(weights, [1.0, 0.0, 0.0])


def test_a_task_without_a_label_has_no_weight():
    weighting = UWSO()
    weights = np.array(weighting(np.array([1.0, 0.0, 1.0])))
    np.testing.assert_allclose(weights, [0.5, 0.0, 0.5], rtol=1e-6)
    assert not np.any(np.array(weighting(np.zeros(3))))
