import itertools
from functools import partial

import keras
import numpy as np
import pytest

from keras_mtl.weightings.pcgrad import PCGrad
from keras_mtl.weightings.pcgrad import others_in_random_order
from tests.compiled import compiled_call
from tests.weightings.test_battery import call

pytestmark = pytest.mark.quick_on_torch


def jacobians(num_tasks, steps=20, size=5):
    # Few coordinates: many conflicts.
    rng = np.random.default_rng(0)
    shape = (steps, num_tasks, size)
    scales = np.exp(rng.normal(size=(steps, num_tasks, 1)))
    return (rng.normal(size=shape) * scales).astype("float32")


def arguments(jacobian):
    losses = np.ones(len(jacobian), "float32")
    return losses, jacobian @ jacobian.T


def surgery(gradients, i, order):
    """Algorithm 1 for task i in float64, on the gradients themselves."""
    gradient = gradients[i].copy()
    for j in order:
        product = gradient @ gradients[j]
        if product < 0:
            gradient -= product / (gradients[j] @ gradients[j]) * gradients[j]
    return gradient


def possible_directions(gradients):
    """The directions for all orders, for T = 4 6**4 of them."""
    tasks = range(len(gradients))
    copies = [
        [
            surgery(gradients, i, order)
            for order in itertools.permutations(set(tasks) - {i})
        ]
        for i in tasks
    ]
    return np.array([sum(parts) for parts in itertools.product(*copies)])


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("num_tasks", [3, 4])
def test_directions_are_those_of_algorithm_1(num_tasks):
    step = compiled_call(PCGrad())
    seen = set()
    for jacobian in jacobians(num_tasks):
        weights = step(*arguments(jacobian))
        gradients = jacobian.astype("float64")
        possible = possible_directions(gradients)
        errors = np.abs(possible - weights @ gradients).max(axis=1)
        scale = np.abs(gradients).max()
        assert errors.min() < 1e-5 * scale
        seen.add(errors.argmin())
    assert len(seen) > 3  # Not always the same order.


def test_two_tasks_have_a_closed_form():
    step = partial(call, PCGrad())
    for jacobian in jacobians(2):
        g, h = jacobian.astype("float64")
        conflict = min(g @ h, 0.0)
        expected = g + h - conflict * (h / (h @ h) + g / (g @ g))
        np.testing.assert_allclose(
            step(*arguments(jacobian)) @ np.stack([g, h]),
            expected,
            rtol=1e-5,
            atol=1e-5,
        )


def test_two_copies_conflict_with_no_gradient():
    step = partial(call, PCGrad())
    for jacobian in jacobians(2):
        direction = step(*arguments(jacobian)) @ jacobian
        norms = np.linalg.norm(jacobian, axis=1)
        cosines = jacobian @ direction / norms / np.linalg.norm(direction)
        assert cosines.min() > -1e-5


def test_without_conflict_it_is_the_sum():
    jacobian = np.abs(jacobians(5)[0])
    weights = call(PCGrad(), *arguments(jacobian))
    np.testing.assert_array_equal(weights, 1.0)


def test_zero_gradients_change_nothing():
    jacobian = jacobians(2)[0]
    with_zero = np.concatenate([jacobian, np.zeros_like(jacobian[:1])])
    np.testing.assert_allclose(
        call(PCGrad(), *arguments(with_zero)) @ with_zero,
        call(PCGrad(), *arguments(jacobian)) @ jacobian,
        rtol=1e-5,
    )


def test_opposite_gradients_have_no_direction():
    jacobian = np.array([[1.0, 2.0], [-2.0, -4.0]], "float32")
    weights = call(PCGrad(), *arguments(jacobian))
    np.testing.assert_allclose(weights @ jacobian, 0.0, atol=1e-6)


def test_orders_are_uniform_permutations_of_the_others():
    seed = keras.random.SeedGenerator(0)
    counts = {}
    for _ in range(100):
        orders = np.array(others_in_random_order(4, seed))
        for i, order in enumerate(orders):
            assert sorted(order) == [0, 1, 2, 3]
            assert order[-1] == i
            key = (i, *order)
            counts[key] = counts.get(key, 0) + 1
    assert len(counts) == 24
    # 100 draws of 6 orders each: 16.7 with a standard deviation of 3.7.
    assert max(counts.values()) < 36


@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="TorchJD runs on PyTorch"
)
def test_agrees_with_torchjd():
    aggregation = pytest.importorskip("torchjd.aggregation")
    import torch

    weighting = PCGrad()
    for jacobian in jacobians(2):
        losses, gramian = arguments(jacobian)
        expected = aggregation.PCGradWeighting()(torch.tensor(gramian))
        np.testing.assert_allclose(
            np.array(weighting(losses, gramian)), expected, rtol=1e-5
        )
