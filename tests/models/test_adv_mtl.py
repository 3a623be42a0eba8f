"""The network and its two losses against NumPy, and where gradients go."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl
from keras_mtl.architectures import Orthogonality
from keras_mtl.architectures import TaskAdversary
from keras_mtl.models import adv_mtl
from tests.models import numpy_layers as expected_layers
from tests.models.numpy_layers import assert_close
from tests.models.numpy_layers import predict

TASKS = ("books", "films", "music")
RNG = np.random.default_rng(0)
X = {
    "tokens": RNG.integers(0, 11, (6, 5)).astype("int32"),
    "task": np.array([[0], [1], [2], [0], [0], [-1]], "int32"),
}
Y = dict.fromkeys(TASKS, np.array([0, 1, 1, 1, 0, 1], "float32"))


def network(**kwargs):
    return adv_mtl(TASKS, 11, units=4, filters=2, kernels=(1, 3), **kwargs)


def encode(model, words, prefix=""):
    features = []
    for size in (1, 3):
        weights = expected_layers.weights(model, f"{prefix}convolution_{size}")
        responses = expected_layers.convolve(words, *weights)
        features.append(expected_layers.relu(responses).max(axis=1))
    return np.concatenate(features, axis=1)


def forward(model):
    """Returns the outputs and the losses that the layers add."""
    (table,) = expected_layers.weights(model, "words")
    words = table[X["tokens"]]
    shared = encode(model, words)
    kernel, bias = expected_layers.weights(model, "shared")
    chances = expected_layers.softmax(shared @ kernel + bias)
    task = X["task"][:, 0]
    own = chances[range(5), task[:5]]
    outputs, losses = {}, [0.05 * -np.log(own).mean()]
    for i, name in enumerate(TASKS):
        private = encode(model, words, f"{name}_")
        kernel, bias = expected_layers.weights(model, name)
        both = np.concatenate([shared, private], axis=1)
        outputs[name] = expected_layers.softmax(both @ kernel + bias)
        losses.append(0.01 * penalty(private, shared, task == i))
    return outputs, losses


def penalty(private, shared, is_own):
    total = np.zeros((shared.shape[1], private.shape[1]))
    for s, h in zip(shared[is_own], private[is_own]):
        total += np.outer(s / np.linalg.norm(s), h / np.linalg.norm(h))
    return np.sum((total / is_own.sum()) ** 2)


@pytest.mark.quick_on_torch
def test_forward_pass_and_losses():
    model = keras.Model(*network())
    expected_layers.randomize(model)
    outputs, losses = forward(model)
    assert_close(predict(model, X), outputs)
    model(X)
    added = [float(ops.convert_to_numpy(x)) for x in model.losses]
    np.testing.assert_allclose(sorted(added), sorted(losses), rtol=1e-4)
    # No output depends on the task.
    other = {**X, "task": np.full((6, 1), -1, "int32")}
    assert_close(predict(model, other), outputs)


def gradients(features, function, layer):
    """Returns those of the features and of the layer's variables."""
    backend = keras.backend.backend()
    variables = layer.trainable_variables
    if backend == "tensorflow":
        import tensorflow as tf

        x = tf.constant(features)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
        return tape.gradient(y, [x, *[v.value for v in variables]])
    if backend == "jax":
        import jax

        def stateless(x, values):
            pairs = list(zip(variables, values))
            with keras.StatelessScope(pairs, collect_losses=True) as scope:
                function(x)
            return sum(scope.losses)

        values = [v.value for v in variables]
        gradient, others = jax.grad(stateless, (0, 1))(features, values)
        return [gradient, *others]
    x = ops.convert_to_tensor(features).requires_grad_()
    function(x).backward()
    return [x.grad, *[v.value.grad for v in variables]]


@pytest.mark.quick_on_torch
def test_gradient_is_reversed_for_the_features_alone():
    features = RNG.normal(size=(4, 3)).astype("float32")
    task = np.array([[0], [1], [1], [5]], "int32")
    layer = TaskAdversary(2, weight=0.5)
    layer.build((4, 3), (4, 1))

    def loss(x):
        out = layer(x, task)
        (added,) = layer.losses
        return added + 0 * ops.sum(out)

    kernel, bias = map(np.float64, layer.get_weights())
    difference = expected_layers.softmax(features @ kernel + bias)
    difference[range(3), task[:3, 0]] -= 1
    difference[3] = 0
    difference *= 0.5 / 3
    expected = [
        -difference @ kernel.T,
        features.T @ difference,
        difference.sum(axis=0),
    ]
    found = gradients(features, loss, layer)
    for actual, value in zip(found, expected, strict=True):
        actual = ops.convert_to_numpy(actual)
        np.testing.assert_allclose(actual, value, rtol=1e-4, atol=1e-6)
    # The features themselves pass through to the last bit.
    out = ops.convert_to_numpy(ops.stop_gradient(layer(features, task)))
    np.testing.assert_array_equal(out, features)


def test_orthogonality():
    rng = np.random.default_rng(0)
    private, shared = rng.normal(size=(2, 5, 3)).astype("float32")
    shared[1] = 0  # As after ReLU.
    task = np.array([[1], [0], [1], [1], [0]], "int32")
    layer = Orthogonality(1, weight=2.0)
    result = layer(private, shared, task)
    np.testing.assert_array_equal(ops.convert_to_numpy(result), private)
    expected = 2 * penalty(private, shared, task[:, 0] == 1)
    assert float(layer.losses[0]) == pytest.approx(expected, rel=1e-5)
    layer = Orthogonality(2)
    layer(private, shared, task)
    assert float(layer.losses[0]) == 0  # A batch without that task.


@pytest.mark.quick_on_torch
@pytest.mark.parametrize(
    "weighting",
    [
        "uncertainty",
        keras_mtl.weightings.CAGrad(gradients="parameters"),
        keras_mtl.weightings.CAGrad(gradients="features"),
    ],
    ids=["losses", "parameters", "features"],
)
def test_adversary_trains_with_every_kind_of_weighting(weighting, tmp_path):
    model = keras_mtl.MultiTaskModel(*network(dropout=0.0))
    losses = dict.fromkeys(TASKS, "sparse_categorical_crossentropy")
    model.compile("sgd", losses, weighting=weighting, run_eagerly=True)
    before = {v.path: np.array(v.numpy()) for v in model.trainable_variables}
    model.fit(X, Y, verbose=0)
    for v in model.trainable_variables:
        assert not np.array_equal(before[v.path], v.numpy()), v.path
    loaded = expected_layers.saved_and_loaded(model, tmp_path)
    assert_close(predict(loaded, X), predict(model, X))


@pytest.mark.any_backend
def test_config_round_trip():
    for layer in (TaskAdversary(3, 0.1), Orthogonality(1, 0.2)):
        config = keras.saving.serialize_keras_object(layer)
        name = f"keras_mtl>{type(layer).__name__}"
        assert config["registered_name"] == name
        copy = keras.saving.deserialize_keras_object(config)
        assert copy.get_config() == layer.get_config()
