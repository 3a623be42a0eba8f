import numpy as np
import pytest

from keras_mtl.weightings import Mean
from tests.weightings.gradients import direction_of
from tests.weightings.gradients import steps

pytestmark = pytest.mark.quick_on_torch


@pytest.mark.every_backend
def test_is_the_mean_of_the_gradients():
    for jacobian in steps():
        np.testing.assert_allclose(
            direction_of(Mean(), jacobian), jacobian.mean(axis=0), rtol=1e-6
        )


def test_heads_have_plain_gradients():
    mean = Mean()
    mean(np.ones(3), np.eye(3))
    np.testing.assert_array_equal(np.array(mean.head_weights()), 1.0)
