import numpy as np
import pytest

from keras_mtl.weightings import ConFIG
from tests.weightings.gradients import cosines
from tests.weightings.gradients import direction_of
from tests.weightings.gradients import steps
from tests.weightings.gradients import weights_of

pytestmark = pytest.mark.quick_on_torch


def reference(jacobian, preference):
    """Equation 2 of the paper, with the pseudo-inverse of the gradients."""
    norms = np.linalg.norm(jacobian, axis=1, keepdims=True)
    units = jacobian / np.where(norms > 0, norms, 1.0)
    best = np.linalg.pinv(units, rcond=1e-3) @ preference
    best /= np.linalg.norm(best)
    return (jacobian @ best).sum() * best


@pytest.mark.every_backend
@pytest.mark.parametrize("preference", [None, [0.1, 0.4, 0.2, 1.0, 2.0]])
def test_is_equation_2(preference):
    config = ConFIG(preference)
    weights = np.ones(5) if preference is None else np.array(preference)
    for jacobian in steps():
        expected = reference(jacobian, weights)
        np.testing.assert_allclose(
            direction_of(config, jacobian),
            expected,
            atol=2e-5 * np.linalg.norm(expected),
        )


def test_dependent_gradients():
    jacobian = steps()[0][[0, 1, 0]]
    np.testing.assert_allclose(
        direction_of(ConFIG(), jacobian),
        reference(jacobian, np.ones(3)),
        rtol=1e-4,
        atol=1e-4,
    )


def test_cosines_are_proportional_to_the_preference():
    preference = np.array([1.0, 2.0, 0.5, 1.0, 1.0])
    for jacobian in steps():
        direction = direction_of(ConFIG(list(preference)), jacobian)
        ratios = cosines(jacobian, direction) / preference
        np.testing.assert_allclose(ratios, ratios[0], rtol=1e-5)


def test_a_zero_gradient_is_left_out():
    jacobian = steps(3)[0]
    alone = weights_of(ConFIG(), jacobian)
    weights = weights_of(ConFIG(), np.insert(jacobian, 1, 0.0, axis=0))
    np.testing.assert_allclose(np.delete(weights, 1), alone, rtol=1e-5)
    assert weights[1] == 0


def test_names_a_preference_of_other_tasks():
    with pytest.raises(ValueError, match="one entry for each of 3 tasks"):
        ConFIG([1.0, 1.0])(np.ones(3), np.eye(3))
