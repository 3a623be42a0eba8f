import numpy as np
import pytest

from keras_mtl.weightings import PBI
from tests.weightings.gradients import torch_weights

pytestmark = pytest.mark.quick_on_torch

PREFERENCE = [0.5, 0.3, 0.2]
IDEAL = [0.1, -0.2, 0.05]


def objective(losses, preference, ideal, theta):
    direction = preference / np.linalg.norm(preference)
    distance = losses - ideal
    along = distance @ direction
    return along + theta * np.linalg.norm(distance - along * direction)


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize(
    "preference, ideal", [(None, None), (PREFERENCE, IDEAL)]
)
def test_is_the_gradient_of_the_objective(preference, ideal):
    arguments = np.array(preference or [1.0] * 3), np.array(ideal or [0.0] * 3)
    for losses in np.random.default_rng(0).uniform(0.2, 3.0, (60, 3)):
        steps = 1e-6 * np.eye(3)
        expected = [
            (
                objective(losses + step, *arguments, 2.0)
                - objective(losses - step, *arguments, 2.0)
            )
            / 2e-6
            for step in steps
        ]
        weights = PBI(preference, ideal, theta=2.0)(losses)
        np.testing.assert_allclose(weights, expected, rtol=1e-4, atol=1e-4)


def test_is_that_of_torchjd():
    scalarization = pytest.importorskip("torchjd.scalarization")
    torch = pytest.importorskip("torch")
    pbi = scalarization.PBI(2.0, torch.tensor(PREFERENCE), torch.tensor(IDEAL))
    for losses in np.random.default_rng(0).uniform(0.2, 3.0, (5, 3)):
        np.testing.assert_allclose(
            PBI(PREFERENCE, IDEAL, 2.0)(losses),
            torch_weights(pbi, losses),
            rtol=1e-4,
            atol=1e-4,
        )


def test_on_the_line_only_the_distance_along_it_counts():
    direction = np.array(PREFERENCE) / np.linalg.norm(PREFERENCE)
    for scale in (1e-6, 1.0, 1e6):
        weights = PBI(PREFERENCE)(scale * np.array(PREFERENCE))
        np.testing.assert_allclose(weights, direction, rtol=1e-5)


def test_a_task_without_a_label_takes_no_part():
    weights = np.array(PBI(ideal=0.1)(np.array([1.0, 0.0, 3.0])))
    expected = PBI(ideal=0.1)(np.array([1.0, 3.0]))
    np.testing.assert_allclose(weights[[0, 2]], expected, rtol=1e-5)
    assert weights[1] == 0.0
