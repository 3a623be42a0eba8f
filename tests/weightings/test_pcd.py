import itertools
from functools import partial

import keras
import numpy as np
import pytest

from keras_mtl.weightings.pcd import PCD
from tests.weightings.test_battery import call

pytestmark = pytest.mark.quick_on_torch


def jacobians(num_tasks=4, steps=20, size=8):
    rng = np.random.default_rng(0)
    scales = np.exp(rng.normal(size=(steps, num_tasks, 1)))
    jacobian = rng.normal(size=(steps, num_tasks, size)) * scales
    return jacobian.astype("float32")


def arguments(jacobian):
    losses = np.ones(len(jacobian), "float32")
    return losses, jacobian @ jacobian.T


class Reference:
    """Algorithm 1 in float64, on the gradients; tries all active sets."""

    def __init__(self, tau, beta):
        self.tau, self.beta, self.average, self.steps = tau, beta, 0.0, 0

    def __call__(self, gradients):
        squared = (gradients**2).sum(axis=1)
        self.steps += 1
        self.average = self.beta * self.average + (1 - self.beta) * squared
        scales = np.sqrt((1 - self.beta**self.steps) / self.average)
        primary, *others = scales[:, None] * gradients
        direction = self.nearest(primary, np.array(others))
        norm = np.linalg.norm(direction)
        return direction * np.linalg.norm(gradients[0]) / norm

    def nearest(self, primary, others):
        needed = self.tau * (others**2).sum(axis=1)
        best, best_distance = primary, np.inf
        for count in range(len(others) + 1):
            for active in itertools.combinations(range(len(others)), count):
                rows = others[list(active)]
                missing = needed[list(active)] - rows @ primary
                direction = primary + np.linalg.pinv(rows) @ missing
                distance = np.linalg.norm(direction - primary)
                feasible = np.all(others @ direction >= needed - 1e-9)
                if feasible and distance < best_distance:
                    best, best_distance = direction, distance
        return best


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("num_tasks", [2, 3, 6])
@pytest.mark.parametrize("tau, beta", [(0.02, 0.999), (0.3, 0.5)])
def test_is_algorithm_1(num_tasks, tau, beta):
    step, reference = partial(call, PCD(tau, beta)), Reference(tau, beta)
    for jacobian in jacobians(num_tasks):
        gradients = jacobian.astype("float64")
        expected = reference(gradients)
        np.testing.assert_allclose(
            step(*arguments(jacobian)) @ gradients,
            expected,
            atol=2e-5 * np.abs(expected).max(),
        )


def test_each_task_makes_its_share_of_progress():
    taus = [0.0, 0.1, 0.5]
    # Without memory, the gradients are scaled to unit norm.
    step = partial(call, PCD(taus, beta=0.0))
    for jacobian in jacobians(size=30):
        units = jacobian / np.linalg.norm(jacobian, axis=1, keepdims=True)
        weights = step(*arguments(jacobian))
        direction = weights @ jacobian
        assert np.linalg.norm(direction) == pytest.approx(
            np.linalg.norm(jacobian[0]), rel=1e-5
        )
        # In units in which the primary gradient's multiplier is 1.
        direction = direction / (weights[0] * np.linalg.norm(jacobian[0]))
        assert np.all(units[1:] @ direction >= np.array(taus) - 1e-5)


def test_a_secondary_loss_may_have_any_scale():
    plain, scaled = partial(call, PCD()), partial(call, PCD())
    factors = np.array([[1.0], [1e4], [1e-4], [10.0]], "float32")
    for jacobian in jacobians():
        np.testing.assert_allclose(
            scaled(*arguments(factors * jacobian)) @ (factors * jacobian),
            plain(*arguments(jacobian)) @ jacobian,
            atol=1e-4,
        )


def test_any_task_may_be_the_main_one():
    order = [2, 0, 1, 3]
    plain, named = PCD([0.1, 0.2, 0.3]), PCD([0.1, 0.2, 0.3], main="c")
    named.name_tasks(list("abcd"))
    for jacobian in jacobians():
        expected = call(plain, *arguments(jacobian[order]))
        weights = call(named, *arguments(jacobian))
        np.testing.assert_allclose(weights[order], expected, rtol=1e-5)


def test_without_conflict_it_is_the_primary_gradient():
    jacobian = np.abs(jacobians()[0])
    weights = call(PCD(), *arguments(jacobian))
    np.testing.assert_allclose(weights, [1.0, 0.0, 0.0, 0.0], atol=1e-5)


def test_constraints_without_a_solution_are_dropped():
    jacobian = np.array([[1.0, 1.0], [0.0, 1.0], [0.0, -1.0]], "float32")
    weights = call(PCD(0.1), *arguments(jacobian))
    np.testing.assert_allclose(weights, [1.0, 0.0, 0.0], atol=1e-6)


def test_knows_which_constraints_have_a_solution():
    """Six gradients in three dimensions: a third of them have none."""
    weighting, compared, dropped = PCD(0.02, beta=0.0), 0, 0
    for jacobian in jacobians(6, steps=40, size=3):
        gradients = jacobian.astype("float64")
        expected = Reference(0.02, 0.0)(gradients)
        changed = Reference(0.021, 0.0)(gradients)
        tolerance = 0.01 * np.abs(expected).max()
        if np.abs(changed - expected).max() > tolerance:
            continue  # At the limit, float32 cannot know.
        compared += 1
        dropped += np.allclose(expected, gradients[0])
        direction = call(weighting, *arguments(jacobian)) @ gradients
        np.testing.assert_allclose(direction, expected, atol=tolerance)
    assert compared > 30
    assert 5 < dropped < 20


@pytest.mark.parametrize(
    "jacobian",
    [[[0.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [-2.0, 0.0]]],
    ids=["zero", "opposite"],
)
def test_stops_where_the_primary_task_cannot_improve(jacobian):
    jacobian = np.array(jacobian, "float32")
    weights = call(PCD(tau=0.0), *arguments(jacobian))
    np.testing.assert_array_equal(weights, 0.0)


def test_zero_gradients_do_not_count_in_the_averages():
    weighting = PCD(beta=0.5)
    step = partial(call, weighting)
    step(*arguments(jacobians()[0]))
    before = np.array(weighting.squared_norms)
    jacobian = jacobians()[1]
    jacobian[2] = 0.0
    step(*arguments(jacobian))
    changed = np.array(weighting.squared_norms) != before
    np.testing.assert_array_equal(changed, [True, True, False, True])


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"tau": 1.5}, "Received: tau=1.5"),
        ({"tau": [0.1, -0.1]}, r"Received: tau=\[0.1, -0.1\]"),
        ({"beta": 1.0}, "Received: beta=1.0"),
    ],
)
def test_names_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        PCD(**arguments)


def test_names_the_length_of_a_wrong_tau():
    with pytest.raises(ValueError, match=r"the 3 tasks beside the main one"):
        PCD(tau=[0.1, 0.1])(*arguments(jacobians()[0]))


@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="TorchJD runs on PyTorch"
)
def test_agrees_with_torchjd():
    aggregation = pytest.importorskip("torchjd.aggregation")
    import torch

    ours, theirs = PCD(), aggregation.PCDWeighting(eps=0.0)
    for jacobian in jacobians(num_tasks=6):
        losses, gramian = arguments(jacobian)
        np.testing.assert_allclose(
            np.array(ours(losses, gramian)),
            theirs(torch.tensor(gramian)),
            rtol=1e-4,
            atol=1e-4,
        )
