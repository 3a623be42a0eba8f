import numpy as np
import pytest

from keras_mtl.weightings import ReLoBRaLo

pytestmark = pytest.mark.quick_on_torch


def softmax(x):
    exponentials = np.exp(x - x.max())
    return exponentials / exponentials.sum()


def reference(losses, temperature, alpha, lookbacks):
    """The paper's update in float64, with given draws of ρ."""
    weights = [np.ones(losses.shape[1])]
    for t in range(1, len(losses)):
        first, last = (
            losses.shape[1] * softmax(losses[t] / other / temperature)
            for other in (losses[0], losses[t - 1])
        )
        history = weights[-1] if lookbacks[t] else first
        weights.append(alpha * history + (1 - alpha) * last)
    return np.stack(weights)


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("lookback", [0.0, 1.0])
def test_is_the_papers_update(lookback):
    losses = np.random.default_rng(0).uniform(0.1, 3.0, (60, 4))
    weighting = ReLoBRaLo(0.5, alpha=0.9, lookback=lookback)
    weights = np.stack([np.array(weighting(step)) for step in losses])
    expected = reference(losses, 0.5, 0.9, np.full(60, lookback))
    np.testing.assert_allclose(weights, expected, rtol=2e-5)


def test_looks_back_as_often_as_it_should():
    # With α = 1 a weight changes where the first losses are looked at.
    losses = np.random.default_rng(0).uniform(0.1, 3.0, (400, 2))
    weighting = ReLoBRaLo(alpha=1.0, lookback=0.8, seed=0)
    weights = np.stack([np.array(weighting(step)) for step in losses])
    kept = np.all(weights[1:] == weights[:-1], axis=1).mean()
    assert 0.74 < kept < 0.86
    lookbacks = np.r_[True, np.all(weights[1:] == weights[:-1], axis=1)]
    expected = reference(losses, 1.0, 1.0, lookbacks)
    np.testing.assert_allclose(weights, expected, rtol=2e-5)


def test_a_task_without_a_label_keeps_its_weight():
    weighting = ReLoBRaLo(alpha=0.5, lookback=1.0)
    for losses in ([1.0, 1.0], [2.0, 1.0]):
        before = np.array(weighting(np.array(losses)))
    absent = np.array(weighting(np.array([1.0, 0.0])))
    assert absent[1] == 0.0 and absent[0] > 0.0
    after = np.array(weighting.balance)
    np.testing.assert_allclose(after[1], before[1], rtol=1e-6)
