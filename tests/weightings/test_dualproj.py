import numpy as np
import pytest
import scipy.optimize

from keras_mtl.weightings import DualProj
from tests.weightings.gradients import direction_of
from tests.weightings.gradients import steps

pytestmark = pytest.mark.quick_on_torch


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("preference", [None, [0.1, 0.4, 0.0, 1.0, 2.0]])
def test_is_the_nearest_direction_without_conflict(preference):
    dualproj = DualProj(preference)
    weights = np.full(5, 0.2) if preference is None else np.array(preference)
    for jacobian in steps():
        vector = weights @ jacobian
        coefficients, _ = scipy.optimize.nnls(-jacobian.T, vector)
        np.testing.assert_allclose(
            direction_of(dualproj, jacobian),
            vector + jacobian.T @ coefficients,
            atol=1e-5 * np.linalg.norm(jacobian),
        )


def test_preference_in_another_unit_scales_the_direction():
    jacobian = steps()[0]
    np.testing.assert_allclose(
        direction_of(DualProj([5.0] * 5), jacobian),
        25 * direction_of(DualProj(), jacobian),
        rtol=1e-4,
        atol=1e-4,
    )


def test_names_a_preference_of_other_tasks():
    with pytest.raises(ValueError, match="one entry for each of 3 tasks"):
        DualProj([1.0, 1.0])(np.ones(3), np.eye(3))
