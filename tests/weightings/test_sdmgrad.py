from functools import partial

import keras
import numpy as np
import pytest

from keras_mtl.weightings.sdmgrad import SDMGrad
from tests.weightings.test_battery import call
from tests.weightings.test_modo import nearest_on_simplex

pytestmark = pytest.mark.quick_on_torch


def jacobians(num_tasks=4, steps=20, size=30):
    rng = np.random.default_rng(0)
    scales = np.exp(0.5 * rng.normal(size=(steps, num_tasks, 1)))
    jacobian = rng.normal(size=(steps, num_tasks, size)) * scales
    return jacobian.astype("float32")


def arguments(jacobian, other=None):
    other = jacobian if other is None else other
    return np.ones(len(jacobian), "float32"), jacobian @ other.T


def algorithm_1(first, second, third, weights, preferred, settings):
    """Steps on w by gradients of batches one and two; direction of three."""
    norms = np.sqrt(np.maximum((first * second).sum(axis=1), 0))
    first, second = first / norms.mean(), second / norms.mean()
    rate = settings["learning_rate"]
    rate = rate or 1 / np.abs(first @ second.T).sum(axis=1).max()
    velocity = 0.0
    for _ in range(settings["inner_steps"]):
        target = (weights + settings["lambda_"] * preferred) @ second
        velocity = settings["momentum"] * velocity + first @ target
        weights = nearest_on_simplex(weights - rate * velocity)
    total = weights @ third + settings["lambda_"] * preferred @ third
    return weights, total / (1 + settings["lambda_"])


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"momentum": 0.0, "learning_rate": 0.2},
        {"lambda_": 2.0, "inner_steps": 3, "learning_rate": 1.0},
    ],
)
def test_is_algorithm_1(changes):
    settings = {
        "lambda_": 0.3,
        "inner_steps": 20,
        "learning_rate": None,
        "momentum": 0.5,
        **changes,
    }
    step = partial(call, SDMGrad(**settings))
    weights = preferred = np.full(4, 0.25)
    for jacobian in jacobians():
        gradients = jacobian.astype("float64")
        weights, expected = algorithm_1(
            gradients, gradients, gradients, weights, preferred, settings
        )
        np.testing.assert_allclose(
            step(*arguments(jacobian)) @ gradients, expected, atol=1e-5
        )


def test_two_batches_are_the_papers_double_sampling():
    settings = {
        "lambda_": 0.5,
        "inner_steps": 5,
        "learning_rate": 0.3,
        "momentum": 0.0,
    }
    preference = [3.0, 1.0, 0.0, 0.0]
    step = partial(call, SDMGrad(preference=preference, **settings))
    preferred = np.array(preference) / 4
    weights = np.full(4, 0.25)
    for jacobian in jacobians():
        # Two halves of a batch, positively correlated.
        noise = 0.3 * np.roll(jacobian, 7, axis=1)
        first, second = jacobian + noise, jacobian - noise
        weights, expected = algorithm_1(
            *np.array([first, second, jacobian], "float64"),
            weights,
            preferred,
            settings,
        )
        direction = step(*arguments(first, second)) @ jacobian
        np.testing.assert_allclose(direction, expected, atol=1e-5)


def test_many_steps_minimize_the_objective():
    """At the minimum, no task has less than the average inner product."""
    weighting = SDMGrad(inner_steps=200)
    step = partial(call, weighting)
    for jacobian in jacobians(steps=3):
        direction = step(*arguments(jacobian)) @ jacobian
        products = jacobian @ direction
        weights = np.array(weighting.simplex_weights)
        gap = weights @ products - products.min()
        assert gap < 1e-4 * np.abs(products).max()


def test_no_weight_is_below_its_share_of_the_preference():
    step = partial(call, SDMGrad(lambda_=1.0, preference=[4.0, 2.0, 1.0, 1.0]))
    for jacobian in jacobians():
        weights = step(*arguments(jacobian))
        assert np.all(weights >= np.array([4, 2, 1, 1]) / 16 - 1e-6)
        assert weights.sum() == pytest.approx(1.0, abs=1e-5)


def test_a_large_lambda_gives_the_preferred_direction():
    preference = [1.0, 2.0, 3.0, 4.0]
    step = partial(call, SDMGrad(lambda_=1e6, preference=preference))
    np.testing.assert_allclose(
        step(*arguments(jacobians()[0])), np.array(preference) / 10, rtol=1e-4
    )


def test_zero_gradients_keep_the_weights():
    weights = call(SDMGrad(), *arguments(np.zeros((4, 3), "float32")))
    np.testing.assert_allclose(weights, 0.25)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"lambda_": -1.0}, "Received: lambda_=-1.0"),
        ({"inner_steps": 0}, "Received: inner_steps=0"),
        ({"learning_rate": 0.0}, "Received: learning_rate=0.0"),
        ({"preference": [0.0, 0.0]}, r"Received: preference=\[0.0, 0.0\]"),
    ],
)
def test_names_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        SDMGrad(**arguments)


def test_names_the_length_of_a_wrong_preference():
    with pytest.raises(ValueError, match=r"Received: preference=\[1.0, 1.0\]"):
        SDMGrad(preference=[1.0, 1.0])(*arguments(jacobians()[0]))


@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="TorchJD runs on PyTorch"
)
def test_agrees_with_torchjd():
    aggregation = pytest.importorskip("torchjd.aggregation")
    import torch

    # With their default of 10, rounding is amplified in each inner step.
    ours = SDMGrad(learning_rate=0.2)
    theirs = aggregation.SDMGradWeighting(lr=0.2)
    for jacobian in jacobians():
        losses, gramian = arguments(jacobian)
        np.testing.assert_allclose(
            np.array(ours(losses, gramian)),
            theirs(torch.tensor(gramian)),
            atol=1e-5,
        )
