from functools import partial

import numpy as np
import pytest

from keras_mtl.weightings.moco import MoCo
from tests.weightings.test_battery import call
from tests.weightings.test_modo import nearest_on_simplex

pytestmark = pytest.mark.quick_on_torch


def jacobians(num_tasks=4, steps=40, size=30, noise=1.0):
    rng = np.random.default_rng(0)
    mean = rng.normal(size=(1, num_tasks, size))
    each = noise * rng.normal(size=(steps, num_tasks, size))
    return (mean + each).astype("float32")


def arguments(jacobian):
    losses = np.ones(len(jacobian), "float32")
    return losses, jacobian @ jacobian.T


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize(
    "beta, gamma, rho", [(0.1, 0.1, 0.0), (0.5, 0.01, 0.0), (1.0, 0.02, 3.0)]
)
def test_follows_the_averaged_gramian(beta, gamma, rho):
    """The average of the past is written out as a sum over all steps."""
    step = partial(call, MoCo(beta, gamma, rho))
    weights, past = np.full(4, 0.25), []
    for jacobian in jacobians():
        past.append(jacobian.astype("float64"))
        ages = np.arange(len(past))[::-1]
        gradient = rho * weights
        for age, gradients in zip(ages, past):
            share = beta * (1 - beta) ** age
            gradient = gradient + share * gradients @ (weights @ gradients)
        weights = nearest_on_simplex(weights - gamma * gradient)
        np.testing.assert_allclose(
            step(*arguments(jacobian)), weights, atol=1e-5
        )


def test_is_the_papers_algorithm_for_constant_gradients():
    """Without noise, tracking gradients and Gramians ends at the same."""
    step = partial(call, MoCo(0.2, 0.02))
    tracked, expected = np.zeros((4, 30)), np.full(4, 0.25)
    for jacobian in jacobians(steps=300, noise=0.0):
        tracked += 0.2 * (jacobian - tracked)
        gradient = tracked @ (expected @ tracked)
        expected = nearest_on_simplex(expected - 0.02 * gradient)
        weights = step(*arguments(jacobian))
    np.testing.assert_allclose(weights, expected, atol=1e-4)


def test_noise_makes_weights_steadier_than_modo():
    from keras_mtl.weightings.modo import MoDo

    def spread(weighting):
        step = partial(call, weighting)
        rows = [step(*arguments(jacobian)) for jacobian in jacobians(steps=60)]
        return np.std(rows[20:], axis=0).mean()

    assert spread(MoCo(0.1, 0.01)) < 0.5 * spread(MoDo(0.01))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"beta": 0.0}, "Received: beta=0.0"),
        ({"gamma": 0.0}, "Received: gamma=0.0"),
        ({"rho": -1.0}, "rho=-1.0"),
    ],
)
def test_names_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        MoCo(**arguments)
