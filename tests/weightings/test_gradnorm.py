import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl.weightings import GradNorm

pytestmark = pytest.mark.quick_on_torch


def reference(losses, norms, alpha, learning_rate):
    """Algorithm 1, the gradient by finite differences, in float64."""
    weights = np.ones(losses.shape[1])
    first, second = np.zeros_like(weights), np.zeros_like(weights)
    used = []
    for t, (step, norm) in enumerate(zip(losses, norms), start=1):
        used.append(weights)
        rate = step / losses[0]
        target = (weights * norm).mean() * (rate / rate.mean()) ** alpha

        def objective(w, norm=norm, target=target):
            return np.abs(w * norm - target)

        gradient = objective(weights + 1e-7) - objective(weights - 1e-7)
        gradient /= 2e-7
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        rate = learning_rate * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        weights = weights - rate * first / (np.sqrt(second) + 1e-7)
        weights = len(weights) * weights / weights.sum()
    return np.stack(used)


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.5])
def test_is_algorithm_1(alpha):
    rng = np.random.default_rng(0)
    losses = rng.uniform(0.5, 2.0, (60, 4))
    jacobians = rng.normal(size=(60, 4, 9)) * [[1.0], [3.0], [0.5], [2.0]]
    # The norms of all tasks differ from batch to batch.
    jacobians *= rng.uniform(0.1, 3.0, (60, 1, 1))
    weighting = GradNorm(alpha)
    weights = []
    for step, jacobian in zip(losses, jacobians):
        gramian = jacobian @ jacobian.T
        arguments = step.astype("float32"), gramian.astype("float32")
        weights.append(np.array(weighting(*arguments)))
    norms = np.linalg.norm(jacobians, axis=-1)
    expected = reference(losses, norms, alpha, 0.025)
    np.testing.assert_allclose(np.stack(weights), expected, rtol=1e-4)


def test_a_file_without_the_argument_keeps_relative_norms():
    config = GradNorm().get_config()
    assert not GradNorm.from_config(config).relative_norms
    del config["relative_norms"]
    assert GradNorm.from_config(config).relative_norms


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_scale_of_the_norms_does_not_matter(scale):
    rng = np.random.default_rng(0)
    weightings = GradNorm(), GradNorm()
    for _ in range(10):
        losses = rng.uniform(0.5, 2.0, 3).astype("float32")
        norms = rng.uniform(0.1, 3.0, 3)
        gramian = np.diag(norms**2).astype("float32")
        pair = [
            np.array(w(losses, gramian * np.float32(factor)))
            for w, factor in zip(weightings, (1.0, scale**2))
        ]
    np.testing.assert_allclose(*pair, rtol=1e-3)


def test_alpha_0_makes_the_norms_equal():
    weighting = GradNorm(alpha=0.0)
    norms = np.array([1.0, 2.0, 4.0], "float32")
    weighting.build((3,))
    for _ in range(400):
        weights = weighting(np.ones(3, "float32"), np.diag(norms**2))
    weighted = np.array(weights) * norms
    np.testing.assert_allclose(weighted, weighted.mean(), rtol=0.1)


def test_a_task_without_labels_is_left_out():
    weighting = GradNorm()
    gramian = np.diag([1.0, 4.0, 0.0]).astype("float32")
    pair = GradNorm()
    for _ in range(3):
        weights = weighting(np.array([1.0, 2.0, 0.0], "float32"), gramian)
        expected = pair(np.array([1.0, 2.0], "float32"), gramian[:2, :2])
    weights, expected = np.array(weights), np.array(expected)
    np.testing.assert_allclose(
        weights[0] / weights[1], expected[0] / expected[1], rtol=1e-5
    )


def model_with_trunk(**kwargs):
    inputs = keras.Input((4,))
    features = keras.layers.Dense(5, activation="tanh", name="first")(inputs)
    features = keras.layers.Dense(3, name="second")(features)
    features = keras.layers.Activation("tanh")(features)
    outputs = {name: keras.layers.Dense(1)(features) for name in "ab"}
    model = keras_mtl.MultiTaskModel(inputs, outputs)
    model.compile("sgd", loss="mse", weighting=GradNorm(**kwargs))
    return model


def test_takes_the_norms_at_the_last_shared_layer():
    x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    y = {"a": x[:, :1], "b": 3 * x[:, 1:2]}
    results = []
    for shared in ("last", ["second"], ["first"]):
        keras.utils.set_random_seed(0)
        model = model_with_trunk(shared=shared, learning_rate=0.1)
        model.fit(x, y, epochs=20, verbose=0)
        results.append(np.concatenate([w.ravel() for w in model.get_weights()]))
    np.testing.assert_allclose(results[0], results[1], atol=1e-6)
    assert np.abs(results[0] - results[2]).max() > 1e-4
