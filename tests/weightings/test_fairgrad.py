import numpy as np
import pytest
import scipy.optimize

from keras_mtl.weightings import FairGrad
from keras_mtl.weightings import NashMTL
from tests.weightings.gradients import direction_of
from tests.weightings.gradients import steps
from tests.weightings.gradients import weights_of

pytestmark = pytest.mark.quick_on_torch


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 5.0])
def test_solves_equation_4(alpha):
    fairgrad = FairGrad(alpha)
    for jacobian in steps():
        weights = weights_of(fairgrad, jacobian)
        improvements = jacobian @ (weights @ jacobian)
        np.testing.assert_allclose(
            improvements, weights ** (-1 / alpha), rtol=2e-5
        )


@pytest.mark.parametrize("alpha", [0.5, 2.0])
def test_maximizes_the_fairness_on_a_sphere(alpha):
    def negative_utility(direction, jacobian, radius):
        direction = radius * direction / np.linalg.norm(direction)
        improvements = np.maximum(jacobian @ direction, 1e-9)
        return -(improvements ** (1 - alpha) / (1 - alpha)).sum()

    for jacobian in steps()[:5]:
        direction = direction_of(FairGrad(alpha), jacobian)
        radius = np.linalg.norm(direction)
        best = negative_utility(direction, jacobian, radius)
        found = scipy.optimize.minimize(
            negative_utility, direction, args=(jacobian, radius), tol=1e-10
        )
        assert best <= found.fun + 1e-6 * abs(found.fun)


def test_alpha_1_is_nash_mtl_of_any_norm():
    nash = NashMTL(max_norm=None)
    for jacobian in steps():
        np.testing.assert_allclose(
            weights_of(FairGrad(1.0), jacobian),
            weights_of(nash, jacobian),
            rtol=1e-4,
        )


def test_a_larger_alpha_improves_the_worst_task_more():
    jacobian = steps()[0]
    shares = []
    for alpha in (0.5, 1.0, 2.0, 5.0):
        direction = direction_of(FairGrad(alpha), jacobian)
        improvements = jacobian @ direction
        shares.append(improvements.min() / improvements.mean())
    assert np.all(np.diff(shares) > 0)


@pytest.mark.parametrize("alpha", [0.0, -1.0, np.nan])
def test_names_a_bad_alpha(alpha):
    with pytest.raises(ValueError, match="Received: alpha="):
        FairGrad(alpha)
