import numpy as np
import pytest

from keras_mtl.weightings.go4align import GO4Align
from tests.solvers.test_kmeans import best_of_all_partitions
from tests.stepping import weights_of_steps

pytestmark = pytest.mark.quick_on_torch


def reference(losses, num_groups, beta):
    """Algorithm 1 of the paper in float64, times the number of tasks.

    The groups are found by trying all of them.
    """
    num_tasks = losses.shape[1]
    smoothness = np.full(num_tasks, 1 / num_tasks)
    weights = []
    for step in losses:
        scale = step.mean() / step
        smoothness = smoothness * np.exp(-beta * step)
        smoothness /= smoothness.sum()
        groups = best_of_all_partitions(scale * smoothness, num_groups)
        weights.append(num_tasks * groups)
    return np.stack(weights)


def random_losses(steps=30, num_tasks=5, seed=0):
    return np.random.default_rng(seed).uniform(0.05, 3.0, (steps, num_tasks))


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize(
    "num_groups, beta", [(1, 1e-4), (2, 1e-4), (2, 0.3), (3, 0.05)]
)
def test_is_algorithm_1(num_groups, beta):
    losses = random_losses()
    np.testing.assert_allclose(
        weights_of_steps(GO4Align(num_groups, beta), losses),
        reference(losses, num_groups, beta),
        rtol=1e-4,
    )


@pytest.mark.parametrize("num_groups", [5, 50])
def test_enough_groups_leave_each_task_its_indicator(num_groups):
    losses = random_losses()
    smoothness = np.exp(-0.1 * losses.cumsum(axis=0))
    smoothness /= smoothness.sum(axis=1, keepdims=True)
    scale = losses.mean(axis=1, keepdims=True) / losses
    np.testing.assert_allclose(
        weights_of_steps(GO4Align(num_groups, beta=0.1), losses),
        5 * scale * smoothness,
        rtol=1e-4,
    )


def test_without_groups_and_smoothness_it_is_scale_invariant():
    losses = random_losses()
    weights = weights_of_steps(GO4Align(num_groups=5, beta=0.0), losses)
    weighted = weights * losses
    np.testing.assert_allclose(
        weighted, weighted[:, :1] * np.ones(5), rtol=1e-5
    )


def test_equal_losses_are_weighted_equally():
    weights = weights_of_steps(GO4Align(beta=0.5), np.full((20, 4), 3.0))
    np.testing.assert_allclose(weights, 1.0, rtol=1e-5)


def test_tasks_of_a_group_share_a_weight():
    losses = np.array([[0.1, 1.0, 0.11, 1.1, 0.9]])
    weights = weights_of_steps(GO4Align(), losses)[0]
    assert weights[0] == weights[2]
    assert weights[1] == weights[3] == weights[4]
    assert weights[0] > 5 * weights[1]


def test_a_task_without_labels_does_not_count():
    # The mean is that of the other losses, and so are the groups.
    losses = np.array([[1.0, 2.0, 0.0, 3.0]])
    weights = weights_of_steps(GO4Align(num_groups=4, beta=0.0), losses)
    np.testing.assert_allclose(weights[0], [2.0, 1.0, 0.0, 2 / 3], rtol=1e-5)
    weights = weights_of_steps(GO4Align(num_groups=1, beta=0.0), losses)
    mean = (2 + 1 + 2 / 3) / 3
    np.testing.assert_allclose(weights[0], [mean, mean, 0.0, mean], rtol=1e-5)


def test_a_task_without_labels_keeps_its_smoothness():
    losses = random_losses()
    losses[10:20, 2] = 0.0
    weighting = GO4Align(num_groups=5, beta=0.1)
    weights_of_steps(weighting, losses[:10])
    before = np.exp(np.array(weighting.log_q))
    weights_of_steps(weighting, losses[10:20])
    after = np.exp(np.array(weighting.log_q))
    assert after[2] == pytest.approx(before[2], rel=1e-5)
    shares = np.delete(before, 2) * np.exp(
        -0.1 * np.delete(losses[10:20], 2, axis=1).sum(axis=0)
    )
    np.testing.assert_allclose(
        np.delete(after, 2),
        (1 - before[2]) * shares / shares.sum(),
        rtol=1e-4,
    )


def test_a_task_comes_back_from_nothing():
    weighting = GO4Align(num_groups=3, beta=0.5)
    weights_of_steps(weighting, [[1e16, 1.0, 1.0]])
    log_q = np.array(weighting.log_q)
    assert np.all(np.isfinite(log_q)) and log_q.min() > -90
    other = np.repeat([[0.01, 3.0, 3.0]], 120, axis=0)
    weights = weights_of_steps(weighting, other)
    assert np.all(np.isfinite(weights))
    assert weights[-1].argmax() == 0


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"num_groups": 0}, "Received: num_groups=0"),
        ({"num_groups": 2.5}, "Received: num_groups=2.5"),
        ({"beta": -1.0}, "Received: beta=-1.0"),
    ],
)
def test_names_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        GO4Align(**arguments)


def test_has_the_defaults_of_the_official_code():
    assert GO4Align().beta == 1e-4
    assert GO4Align().num_groups == 2
