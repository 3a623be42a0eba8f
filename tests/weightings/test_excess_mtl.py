import numpy as np
import pytest

from keras_mtl.weightings.excess_mtl import ExcessMTL
from tests.stepping import weights_of_steps

pytestmark = pytest.mark.quick_on_torch


def random_jacobians(steps=30, num_tasks=3, size=40, seed=0):
    rng = np.random.default_rng(seed)
    scales = rng.uniform(0.1, 3.0, (steps, num_tasks, 1))
    scales *= np.logspace(-3, 3, num_tasks)[:, None]
    return scales * rng.normal(size=(steps, num_tasks, size))


def fixed_proportions(steps=30, num_tasks=3, size=40):
    """Jacobians in which signs and lengths change, the proportions do not."""
    rng = np.random.default_rng(1)
    signs = rng.choice([-1.0, 1.0], (steps, num_tasks, size))
    scales = rng.uniform(0.1, 3.0, (steps, num_tasks, 1))
    return signs * scales * random_jacobians(1, num_tasks, size)


def gramians_of(jacobians):
    return jacobians @ jacobians.transpose(0, 2, 1)


def run(weighting, jacobians, losses=None):
    if losses is None:
        losses = np.ones(jacobians.shape[:2])
    return weights_of_steps(weighting, losses, gramians_of(jacobians))


def reference(gradients, eta, warmup_steps=1):
    """The method in float64, with one accumulator for each partial derivative.

    Args:
        gradients: Shape `(steps, T, P)`; with `P = 1`, the norms.
        eta: Step size.
        warmup_steps: Number of steps.
    """
    accumulated = np.cumsum(gradients**2, axis=0)
    excess = (gradients**2 / np.sqrt(accumulated)).sum(axis=2)
    relative = excess / excess[:warmup_steps].mean(axis=0)
    relative[:warmup_steps] = 0.0
    weights = np.exp(eta * relative.cumsum(axis=0))
    return weights / weights.mean(axis=1, keepdims=True)


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("eta, warmup_steps", [(0.01, 1), (0.5, 1), (0.3, 5)])
def test_accumulates_squared_norms(eta, warmup_steps):
    jacobians = random_jacobians()
    norms = np.linalg.norm(jacobians, axis=2, keepdims=True)
    np.testing.assert_allclose(
        run(ExcessMTL(eta, warmup_steps), jacobians),
        reference(norms, eta, warmup_steps),
        rtol=1e-4,
    )


@pytest.mark.parametrize("eta, warmup_steps", [(0.01, 1), (0.5, 1), (0.3, 5)])
def test_is_the_papers_where_the_proportions_stay(eta, warmup_steps):
    jacobians = fixed_proportions()
    np.testing.assert_allclose(
        run(ExcessMTL(eta, warmup_steps), jacobians),
        reference(jacobians, eta, warmup_steps),
        rtol=1e-4,
    )


def test_a_converged_task_loses_weight():
    jacobians = random_jacobians(steps=60)
    jacobians[:, 0] *= 0.9 ** np.arange(60)[:, None]
    weights = run(ExcessMTL(eta=0.3), jacobians)
    np.testing.assert_allclose(weights[0], 1.0, rtol=1e-6)
    assert weights[-1].argmin() == 0
    np.testing.assert_allclose(weights.sum(axis=1), 3.0, rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-16, 1e16])
def test_scales_of_the_tasks_do_not_matter(scale):
    jacobians = random_jacobians()
    expected = run(ExcessMTL(eta=0.5), jacobians)
    jacobians[:, 1] *= scale
    weights = run(ExcessMTL(eta=0.5), jacobians)
    np.testing.assert_allclose(weights, expected, rtol=1e-4)


def test_a_task_comes_back_from_nothing():
    jacobians = np.ones((60, 2, 1))
    jacobians[1:10, 1] = 1e3
    jacobians[10:, 1] = 0.0
    weights = run(ExcessMTL(eta=10.0), jacobians)
    assert np.all(np.isfinite(weights))
    assert weights[9, 0] < 1e-30
    assert weights[-1].argmax() == 0


def test_a_task_without_labels_keeps_its_weight_and_accumulator():
    jacobians = random_jacobians()
    jacobians[10:20, 2] = 0.0
    losses = np.ones((30, 3))
    losses[10:20, 2] = 0.0
    weighting = ExcessMTL(eta=0.5)
    weights = run(weighting, jacobians, losses)
    np.testing.assert_allclose(weights[10:20, 2], weights[9, 2], rtol=1e-5)
    np.testing.assert_allclose(weights.sum(axis=1), 3.0, rtol=1e-5)
    squared_norms = np.square(jacobians[:, 2]).sum()
    root = np.array(weighting.root)[2]
    assert root == pytest.approx(np.sqrt(squared_norms), rel=1e-5)


def test_a_task_that_begins_later_is_compared_with_its_first_batch():
    jacobians = random_jacobians(num_tasks=2)
    losses = np.ones((30, 2))
    losses[:10, 1] = 0.0
    jacobians[:10, 1] = 0.0
    weights = run(ExcessMTL(eta=0.2), jacobians, losses)
    np.testing.assert_allclose(weights[:10], 1.0, rtol=1e-5)
    norms = np.linalg.norm(jacobians, axis=2)
    relative = []
    for task, begin in ((0, 0), (1, 10)):
        seen = norms[begin:, task]
        excess = seen**2 / np.sqrt(np.cumsum(seen**2))
        ratio = excess / excess[0]
        relative.append(ratio[10 - begin :])
    # Both count 1 in a task's first batch.
    expected = np.exp(0.2 * np.cumsum(relative[0] - relative[1]))
    np.testing.assert_allclose(
        weights[10:, 0] / weights[10:, 1], expected, rtol=1e-4
    )


def test_reused_weights_leave_the_accumulators():
    jacobians = random_jacobians()
    gramians = gramians_of(jacobians)
    # What the model passes where no gradients are computed.
    sparse = np.where(
        np.arange(30)[:, None, None] % 3 == 0, gramians, np.eye(3)
    )
    weights = weights_of_steps(
        ExcessMTL(eta=0.5, update_every=3), np.ones((30, 3)), sparse
    )
    expected = run(ExcessMTL(eta=0.5), jacobians[::3])
    np.testing.assert_allclose(weights, expected.repeat(3, axis=0), rtol=1e-5)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"eta": 0.0}, "Received: eta=0.0"),
        ({"warmup_steps": 0}, "Received: warmup_steps=0"),
    ],
)
def test_names_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        ExcessMTL(**arguments)
