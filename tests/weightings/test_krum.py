from functools import partial

import keras
import numpy as np
import pytest

from keras_mtl.weightings.krum import Krum
from tests.weightings.test_battery import call

pytestmark = pytest.mark.quick_on_torch


def jacobians(num_tasks, steps=20, size=6):
    rng = np.random.default_rng(0)
    return rng.normal(size=(steps, num_tasks, size)).astype("float32")


def arguments(jacobian):
    losses = np.ones(len(jacobian), "float32")
    return losses, jacobian @ jacobian.T


def scores(gradients, num_byzantine):
    """s(i) of the paper, from the gradients themselves."""
    differences = gradients[:, None] - gradients
    squared = np.sort((differences**2).sum(axis=-1), axis=1)
    return squared[:, 1 : len(gradients) - num_byzantine - 1].sum(axis=1)


@pytest.mark.every_backend
@pytest.mark.parametrize(
    "num_tasks, num_byzantine, num_selected",
    [(4, 0, 1), (5, 1, 1), (7, 2, 3), (11, 4, 5)],
)
def test_selects_the_lowest_scores(num_tasks, num_byzantine, num_selected):
    step = partial(call, Krum(num_byzantine, num_selected))
    for jacobian in jacobians(num_tasks):
        expected = np.zeros(num_tasks)
        order = np.argsort(scores(jacobian.astype("float64"), num_byzantine))
        expected[order[:num_selected]] = 1 / num_selected
        np.testing.assert_allclose(
            step(*arguments(jacobian)), expected, rtol=1e-6
        )


def test_of_equal_scores_the_first_is_selected():
    """With one neighbour each, the nearest two have the same score."""
    for jacobian in jacobians(3, steps=10):
        distances = ((jacobian[:, None] - jacobian) ** 2).sum(axis=-1)
        distances[np.diag_indices(3)] = np.inf
        first = min(np.unravel_index(distances.argmin(), (3, 3)))
        weights = np.array(Krum()(*arguments(jacobian)))
        np.testing.assert_array_equal(weights, np.eye(3)[first])


def test_faulty_gradients_are_not_selected():
    for jacobian in jacobians(7):
        jacobian[[1, 4]] *= 100.0
        weights = np.array(Krum(2, 3)(*arguments(jacobian)))
        assert weights[1] == weights[4] == 0.0


@pytest.mark.parametrize("num_tasks", [1, 2])
def test_few_tasks_select_the_first(num_tasks):
    weights = np.array(Krum()(*arguments(jacobians(num_tasks)[0])))
    np.testing.assert_array_equal(weights, np.eye(num_tasks)[0])


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"num_byzantine": -1}, "Received: num_byzantine=-1"),
        ({"num_selected": 0}, "Received: num_selected=0"),
    ],
)
def test_names_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Krum(**arguments)


def test_names_too_many_selected():
    with pytest.raises(ValueError, match="Received: num_selected=5"):
        Krum(num_selected=5)(*arguments(jacobians(4)[0]))


@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="TorchJD runs on PyTorch"
)
def test_agrees_with_torchjd_on_one_neighbour():
    """With more of them, TorchJD sums distances and the paper their squares."""
    aggregation = pytest.importorskip("torchjd.aggregation")
    import torch

    for jacobian in jacobians(5):
        losses, gramian = arguments(jacobian)
        expected = aggregation.KrumWeighting(2, 2)(torch.tensor(gramian))
        np.testing.assert_allclose(
            np.array(Krum(2, 2)(losses, gramian)), expected
        )
