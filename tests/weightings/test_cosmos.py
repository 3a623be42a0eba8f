import numpy as np
import pytest

from keras_mtl.weightings import COSMOS
from tests.weightings.gradients import torch_weights

pytestmark = pytest.mark.quick_on_torch

PREFERENCE = [0.5, 0.3, 0.2]


def objective(losses, preference, similarity):
    norms = np.linalg.norm(preference) * np.linalg.norm(losses)
    total = preference @ losses
    return total - similarity * total / norms


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("preference", [None, PREFERENCE])
def test_is_the_gradient_of_the_objective(preference):
    wanted = np.array(preference or [1 / 3] * 3)
    for losses in np.random.default_rng(0).uniform(0.1, 3.0, (60, 3)):
        steps = 1e-6 * np.eye(3)
        expected = [
            (
                objective(losses + step, wanted, 2.0)
                - objective(losses - step, wanted, 2.0)
            )
            / 2e-6
            for step in steps
        ]
        weights = COSMOS(preference, similarity=2.0)(losses)
        np.testing.assert_allclose(weights, expected, rtol=1e-4, atol=1e-5)


def test_is_that_of_torchjd():
    scalarization = pytest.importorskip("torchjd.scalarization")
    torch = pytest.importorskip("torch")
    cosmos = scalarization.COSMOS(2.0, torch.tensor(PREFERENCE))
    for losses in np.random.default_rng(0).uniform(0.1, 3.0, (5, 3)):
        np.testing.assert_allclose(
            COSMOS(PREFERENCE, 2.0)(losses),
            torch_weights(cosmos, losses),
            rtol=1e-4,
            atol=1e-5,
        )


def test_descent_comes_to_the_preferred_ratio():
    losses, weighting = np.array([2.0, 0.5]), COSMOS([0.8, 0.2], 8.0)
    start = losses @ [0.8, 0.2] / np.linalg.norm(losses)
    for _ in range(50):
        losses = losses - 0.01 * np.array(weighting(losses))
    end = losses @ [0.8, 0.2] / np.linalg.norm(losses)
    assert end > start


def test_a_task_without_a_label_takes_no_part():
    weights = np.array(COSMOS(similarity=2.0)(np.array([1.0, 0.0, 3.0])))
    expected = COSMOS([1 / 3, 1 / 3], 2.0)(np.array([1.0, 3.0]))
    np.testing.assert_allclose(weights[[0, 2]], expected, rtol=1e-5)
    assert weights[1] == 0.0


@pytest.mark.parametrize("size", [1e-30, 1e-8])
def test_losses_in_the_wanted_ratio_get_the_preference(size):
    preference = [0.2, 0.3, 0.5]
    weights = COSMOS(preference)(np.array(preference, "float32") * size)
    np.testing.assert_allclose(np.array(weights), preference, rtol=1e-6)
