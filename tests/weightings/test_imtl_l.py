import numpy as np
import pytest

from keras_mtl.weightings import IMTLL

pytestmark = pytest.mark.quick_on_torch


def reference(losses, learning_rate):
    """Adam on Σ exp(s) L − s in float64, by finite differences."""
    s = np.zeros(losses.shape[1])
    first, second = np.zeros_like(s), np.zeros_like(s)
    weights = []
    for t, step in enumerate(losses, start=1):
        weights.append(np.exp(s))

        def objective(s, step=step):
            return np.exp(s) * step - s

        gradient = (objective(s + 1e-5) - objective(s - 1e-5)) / 2e-5
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        step_size = learning_rate * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        s = s - step_size * first / (np.sqrt(second) + 1e-7)
    return np.stack(weights)


def run(weighting, losses):
    losses = np.asarray(losses, "float32")
    return np.stack([np.array(weighting(step)) for step in losses])


@pytest.mark.every_backend
def test_trains_the_scales_with_adam():
    losses = np.random.default_rng(0).uniform(0.1, 4.0, (30, 3))
    np.testing.assert_allclose(
        run(IMTLL(learning_rate=0.02), losses),
        reference(losses, 0.02),
        rtol=1e-4,
    )


def test_brings_constant_losses_to_1():
    losses = np.array([0.5, 1.0, 3.0])
    weights = run(IMTLL(learning_rate=0.05), [losses] * 150)
    np.testing.assert_allclose(weights[-1] * losses, 1.0, rtol=1e-2)


def test_batches_without_a_label_keep_the_scale():
    rng = np.random.default_rng(0)
    labelled = rng.uniform(0.1, 4.0, (12, 2))
    # The first task has labels in all batches, the second in every other one.
    sparse = np.repeat(labelled, 2, axis=0)
    sparse[1::2, 1] = 0.0
    weighting = IMTLL(learning_rate=0.02)
    weights = run(weighting, sparse)
    np.testing.assert_array_equal(weights[1::2, 1], 0.0)
    np.testing.assert_allclose(
        weights[:, 0], reference(sparse, 0.02)[:, 0], rtol=1e-4
    )
    scale = np.array(weighting.log_scale)
    moments = [np.array(v) for v in weighting.optimizer.variables]
    weighting(np.array([1.0, 0.0], "float32"))
    assert np.array(weighting.log_scale)[1] == scale[1]
    for new, old in zip(weighting.optimizer.variables, moments):
        if old.shape:
            assert np.array(new)[1] == old[1]


def test_takes_the_learning_rate_of_the_model():
    weighting = IMTLL(learning_rate=None)
    assert weighting.needs_learning_rate
    assert not IMTLL().needs_learning_rate
    weighting.build((2,))
    weighting.model_learning_rate.assign(0.25)
    losses = np.array([[0.5, 3.0]] * 3)
    np.testing.assert_allclose(
        run(weighting, losses), reference(losses, 0.25), rtol=1e-4
    )


def test_names_a_bad_learning_rate():
    with pytest.raises(ValueError, match="Received: learning_rate=0"):
        IMTLL(learning_rate=0)
