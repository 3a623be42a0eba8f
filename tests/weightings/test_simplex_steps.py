"""What the methods with a step on the simplex have in common."""

from functools import partial

import numpy as np
import pytest

from keras_mtl.weightings import MoCo
from keras_mtl.weightings import MoDo
from tests.weightings.test_battery import call

pytestmark = pytest.mark.quick_on_torch


@pytest.mark.every_backend
@pytest.mark.parametrize("scale", [1e-6, 1e6])
@pytest.mark.parametrize("cls", [MoCo, MoDo])
def test_normalized_the_scale_does_not_matter(cls, scale):
    plain, scaled = (
        partial(call, cls(normalize=True, rho=0.1)) for _ in range(2)
    )
    for step in range(4):
        jacobian = np.random.default_rng(step).normal(size=(3, 20))
        gramian = (jacobian @ jacobian.T).astype("float32")
        losses = np.ones(3, "float32")
        expected = plain(losses, gramian)
        weights = scaled(losses, gramian * np.float32(scale**2))
        np.testing.assert_allclose(weights, expected, rtol=1e-4)
    assert np.ptp(weights) > 1e-3
