import numpy as np
import pytest
import scipy.optimize

from keras_mtl.weightings import UPGrad
from tests.weightings.gradients import direction_of
from tests.weightings.gradients import steps

pytestmark = pytest.mark.quick_on_torch


def projection(jacobian, vector):
    """What is left of a vector without its part in the polar cone."""
    coefficients, _ = scipy.optimize.nnls(-jacobian.T, vector)
    return vector + jacobian.T @ coefficients


@pytest.mark.every_backend
@pytest.mark.parametrize("preference", [None, [0.1, 0.4, 0.0, 1.0, 2.0]])
def test_is_the_sum_of_the_projections(preference):
    upgrad = UPGrad(preference)
    weights = np.full(5, 0.2) if preference is None else np.array(preference)
    for jacobian in steps():
        projections = [projection(jacobian, row) for row in jacobian]
        np.testing.assert_allclose(
            direction_of(upgrad, jacobian),
            weights @ projections,
            atol=1e-5 * np.linalg.norm(jacobian),
        )


def test_is_linear_under_scaling():
    rng = np.random.default_rng(1)
    jacobian = steps()[0]
    first, second = rng.uniform(0.1, 4.0, (2, 5, 1))
    together = direction_of(UPGrad(), (2 * first + 3 * second) * jacobian)
    apart = 2 * direction_of(UPGrad(), first * jacobian)
    apart += 3 * direction_of(UPGrad(), second * jacobian)
    np.testing.assert_allclose(together, apart, rtol=1e-4, atol=1e-4)


def test_without_conflict_it_is_the_mean():
    jacobian = np.abs(steps()[0])
    np.testing.assert_allclose(
        direction_of(UPGrad(), jacobian), jacobian.mean(axis=0), rtol=1e-6
    )


@pytest.mark.parametrize("preference", [[1.0, -1.0], [0.0, 0.0], [np.nan, 1]])
def test_names_a_bad_preference(preference):
    with pytest.raises(ValueError, match="Received: preference="):
        UPGrad(preference)


def test_names_a_preference_of_other_tasks():
    with pytest.raises(ValueError, match="one entry for each of 3 tasks"):
        UPGrad([1.0, 1.0])(np.ones(3), np.eye(3))
