import numpy as np
import pytest

from keras_mtl.weightings import FAMO

pytestmark = pytest.mark.quick_on_torch


def adam(values, gradient, state, learning_rate, epsilon=1e-8):
    state["t"] += 1
    state["m"] = 0.9 * state["m"] + 0.1 * gradient
    state["v"] = 0.999 * state["v"] + 0.001 * gradient**2
    rate = learning_rate * np.sqrt(1 - 0.999 ** state["t"])
    rate /= 1 - 0.9 ** state["t"]
    return values - rate * state["m"] / (np.sqrt(state["v"]) + epsilon)


def reference(before, after, gamma=0.01, min_losses=0.0):
    """Algorithm 1; the softmax by its Jacobian matrix, in float64."""
    logits = np.zeros(before.shape[1])
    state = {"t": 0, "m": 0.0, "v": 0.0}
    weights = []
    for old, new in zip(before - min_losses, after - min_losses):
        z = np.exp(logits) / np.exp(logits).sum()
        weights.append(z / old / (z / old).sum())
        jacobian = np.diag(z) - np.outer(z, z)
        gradient = jacobian @ (np.log(old) - np.log(new)) + gamma * logits
        logits = adam(logits, gradient, state, 0.025)
    return np.stack(weights)


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("min_losses", [0.0, [0.1, 0.0, -0.5]])
def test_is_algorithm_1(min_losses):
    rng = np.random.default_rng(0)
    before = rng.uniform(0.2, 3.0, (30, 3))
    after = before * rng.uniform(0.8, 1.1, (30, 3))
    weighting = FAMO(min_losses=min_losses)
    weights = []
    for old, new in zip(before.astype("float32"), after.astype("float32")):
        weights.append(np.array(weighting(old)))
        weighting.after_step(new)
    expected = reference(before, after, min_losses=np.array(min_losses))
    np.testing.assert_allclose(np.stack(weights), expected, rtol=1e-4)


def test_helps_the_task_that_improves_least():
    weighting = FAMO()
    losses = np.array([1.0, 1.0, 1.0], "float32")
    for _ in range(50):
        weighting(losses)
        weighting.after_step(losses * np.array([0.9, 0.99, 0.95], "float32"))
    weights = np.array(weighting(losses))
    assert weights[1] > weights[2] > weights[0]


def test_a_task_without_labels_keeps_its_logit():
    weighting, pair = FAMO(), FAMO()
    weighting.build((3,))
    pair.build((2,))
    weighting.logits.assign(np.array([0.0, 0.0, 0.5], "float32"))
    for _ in range(5):
        losses = np.array([1.0, 2.0, 0.0], "float32")
        weights = np.array(weighting(losses))
        assert weights[2] == 0.0
        expected = np.array(pair(losses[:2]))
        np.testing.assert_allclose(weights[:2], expected, rtol=1e-5)
        after = losses * np.array([0.9, 0.8, 1.0], "float32")
        weighting.after_step(after)
        pair.after_step(after[:2])
    logits = np.array(weighting.logits)
    np.testing.assert_allclose(logits[:2], np.array(pair.logits), rtol=1e-4)
    assert logits[2] == 0.5
    assert logits[0] != 0.0


def test_one_huge_loss_is_a_bounded_change():
    weighting = FAMO()
    weighting(np.array([1.0, 2.0], "float32"))
    weighting.after_step(np.array([1e20, 2.0], "float32"))
    moments = [np.array(v) for v in weighting.optimizer.variables]
    # A change of 1 of the log loss, at a weight of 1 / 2.
    assert max(np.abs(v).max() for v in moments if v.shape) <= 0.1 / 4 + 1e-6


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_losses_after_the_step_change_nothing(bad):
    weighting = FAMO()
    weighting(np.array([1.0, 2.0], "float32"))
    weighting.after_step(np.array([0.5, 1.5], "float32"))
    state = [np.array(v) for v in weighting.variables]
    weighting.after_step(np.array([bad, 1.5], "float32"))
    for variable, value in zip(weighting.variables, state):
        np.testing.assert_array_equal(np.array(variable), value)


def test_names_a_wrong_number_of_minimal_losses():
    with pytest.raises(ValueError, match=r"Received: min_losses=\[0.0\]"):
        FAMO(min_losses=[0.0])(np.ones(3, "float32"))
