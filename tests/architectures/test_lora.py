"""Adapters of low rank against the same network with other kernels."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_mtl
from keras_mtl import architectures
from keras_mtl.training.graph import split_of
from keras_mtl.training.parameters_by_task import parameters_by_task
from tests.models.numpy_layers import assert_close
from tests.models.numpy_layers import predict
from tests.models.numpy_layers import randomize
from tests.models.numpy_layers import saved_and_loaded

TASKS = ["b", "a"]
RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 5, 4)).astype("float32")
Y = {task: RNG.normal(size=(3, 5, 4)).astype("float32") for task in TASKS}


def backbone():
    """An attention, whose kernels are of `EinsumDense`, and a dense layer."""
    x = keras.Input((5, 4), name="x")
    h = layers.MultiHeadAttention(2, 3, name="attention")(x, x)
    h = layers.Add()([x, h])
    return keras.Model(x, layers.Dense(4, "tanh", name="dense")(h))


def model_of(network, **kwargs):
    features = architectures.lora(network, TASKS, rank=2, **kwargs)
    return keras_mtl.MultiTaskModel(network.input, features)


@pytest.mark.quick_on_torch
@pytest.mark.parametrize("targets", [None, ["query", "dense"]])
def test_forward_pass(targets):
    network = backbone()
    randomize(network)
    plain = ops.convert_to_numpy(network(X))
    model = model_of(network, alpha=3.0, targets=targets)
    for y in predict(model, X).values():  # The second matrices are zero.
        np.testing.assert_allclose(y, plain, rtol=1e-5, atol=1e-6)
    own = {t: model.get_layer(f"lora_{t}") for t in TASKS}
    expected = {}
    for task in TASKS:
        for v in own[task].trainable_variables:
            v.assign(RNG.normal(size=v.shape))
        other = keras.models.clone_model(network)
        other.set_weights(network.get_weights())
        change(other, own[task])
        expected[task] = np.float64(ops.convert_to_numpy(other(X)))
    assert_close(predict(model, X), expected)
    # The network itself is as it was.
    np.testing.assert_array_equal(ops.convert_to_numpy(network(X)), plain)


def change(network, adapters):
    """Adds the products to the kernels of a network."""
    values = {v.name: np.float64(v.numpy()) for v in adapters.weights}
    for layer in network._flatten_layers():
        if f"{layer.name}_a" in values:
            a, b = values[f"{layer.name}_a"], values[f"{layer.name}_b"]
            layer.kernel.assign(layer.kernel.numpy() + 3 / 2 * (a @ b))


@pytest.mark.quick_on_torch
def test_training_and_file(tmp_path):
    network = backbone()
    before = network.get_weights()
    model = model_of(network)
    model.compile("sgd", "mse", weighting="uncertainty", run_eagerly=True)
    model.fit(X, Y, epochs=2, verbose=0)
    for old, new in zip(before, network.get_weights()):
        np.testing.assert_array_equal(old, new)
    # After the first step, the second matrices are not zero.
    for layer in map(model.get_layer, ["lora_a", "lora_b"]):
        assert all(np.abs(v.numpy()).max() > 0 for v in layer._b)
    loaded = saved_and_loaded(model, tmp_path)
    assert_close(predict(loaded, X), predict(model, X), 1e-6, 1e-6)
    networks = {id(loaded.get_layer(f"lora_{t}").backbone) for t in TASKS}
    assert len(networks) == 1
    assert len(loaded.weights) == len(model.weights)


class Places(layers.Layer):
    """Runs on no more than six places, as an embedding of positions."""

    def call(self, x):
        assert x.shape[1] <= 6
        return 2 * x

    def compute_output_shape(self, shape):
        return shape


@pytest.mark.quick_on_torch
def test_length_that_is_not_known():
    x = keras.Input((None, 4), name="x")
    h = layers.Dense(4, "tanh", name="dense")(Places()(x))
    network = keras.Model({"x": x}, {"h": h, "x": x})
    features = architectures.lora(network, TASKS)["a"]
    assert features["h"].shape == (None, None, 4)
    model = keras.Model(network.input, features)
    found, expected = model({"x": X})["h"], network({"x": X})["h"]
    found, expected = map(ops.convert_to_numpy, (found, expected))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.any_backend
def test_parameters():
    model = model_of(backbone(), targets=["dense"])
    rows = parameters_by_task(split_of(model), model.weights)
    own = 4 * 2 + 2 * 4
    frozen = 3 * (4 * 6 + 6) + 6 * 4 + 4 + 4 * 4 + 4
    assert [tuple(row) for row in rows] == [
        ("shared", 0, frozen),
        ("a", own, 0),
        ("b", own, 0),
        ("(total)", 2 * own, frozen),
    ]


@pytest.mark.any_backend
def test_bad_input():
    network = backbone()
    with pytest.raises(ValueError, match=r"'query', 'value'\]. Received: targ"):
        architectures.lora(network, TASKS, targets=["queries"])
    with pytest.raises(ValueError, match="to be a built layer.*Received: back"):
        architectures.lora(layers.Dense(2), TASKS, x=network.input)
    with pytest.raises(ValueError, match="Expected `x` to be a tensor"):
        architectures.lora(layers.Dense(2), TASKS)
    with pytest.raises(ValueError, match="rank=0"):
        architectures.lora(network, TASKS, rank=0)
    with pytest.raises(ValueError, match="to be different names"):
        architectures.lora(network, [])


@pytest.mark.any_backend
def test_sequential_network_and_one_target():
    first, last = layers.Dense(3), layers.Dense(2, name="last")
    network = keras.Sequential([keras.Input((4,)), first, last])
    features = architectures.lora(network, TASKS, rank=1, targets="last")
    model = keras.Model(network.inputs, features)
    assert len(model.trainable_variables) == 2 * len(TASKS)


def test_adapters_of_a_network_that_has_adapters():
    x = keras.Input((4,))
    plain = keras.Model(x, layers.Dense(4, "tanh", name="dense")(x))
    adapted = keras.Model(x, architectures.lora(plain, ["old"])["old"])
    twice = architectures.LowRankAdapters(adapted)
    rows = X[:, 0]
    for v in adapted.trainable_variables:
        v.assign(RNG.normal(size=v.shape))
    before = ops.convert_to_numpy(adapted(rows))
    np.testing.assert_allclose(
        ops.convert_to_numpy(twice(rows)), before, rtol=1e-5, atol=1e-6
    )
    np.testing.assert_array_equal(ops.convert_to_numpy(adapted(rows)), before)
