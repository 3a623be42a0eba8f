"""The network against NumPy, atom by atom, and its symmetries."""

import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl.models import mpnn
from keras_mtl.models.atom_update import AtomUpdate
from keras_mtl.models.edge_convolution import EdgeConvolution
from keras_mtl.models.pair_features import PairFeatures
from keras_mtl.models.set2set import Set2Set
from tests.models import numpy_layers as expected_layers
from tests.models.numpy_layers import assert_close
from tests.models.numpy_layers import predict
from tests.models.numpy_layers import relu
from tests.models.numpy_layers import sigmoid

TASKS = ("energy", "dipole")
UNITS, EDGE_UNITS = 3, 4
ATOMS = np.array([[6, 1, 8, 0], [1, 9, 0, 0], [7, 0, 0, 0]], "int32")


def molecules():
    positions = np.random.default_rng(0).normal(scale=2.0, size=(3, 4, 3))
    return {"atoms": ATOMS, "positions": positions.astype("float32")}


def network():
    return mpnn(TASKS, units=UNITS, edge_units=EDGE_UNITS, max_atoms=4)


def messages(model, states, positions):
    """NNConv as it is written: a matrix for each pair, and a mean."""
    kernel, hidden_bias = expected_layers.weights(model, "pairs")
    edges, root, bias = expected_layers.weights(model, "messages")
    edges = edges.reshape(EDGE_UNITS + 1, UNITS, UNITS)
    result = []
    for i, state in enumerate(states):
        received = []
        for j, other in enumerate(states):
            if i == j:
                continue
            distance = np.linalg.norm(positions[i] - positions[j])
            hidden = relu(distance * kernel + hidden_bias)[:, 0]
            matrix = edges[-1] + np.tensordot(hidden, edges[:-1], 1)
            received.append(other @ matrix)
        mean = np.mean(received, axis=0) if received else 0
        result.append(relu(mean + state @ root + bias))
    return np.array(result)


def updated(model, x, state):
    """PyTorch's GRU, with its gates in Keras's order."""
    kernel, recurrent, bias = expected_layers.weights(model, "update")
    x = np.split(x @ kernel + bias[0], 3, axis=-1)
    h = np.split(state @ recurrent + bias[1], 3, axis=-1)
    keep, reset = sigmoid(x[0] + h[0]), sigmoid(x[1] + h[1])
    return keep * state + (1 - keep) * np.tanh(x[2] + reset * h[2])


def read(model, states):
    kernel, recurrent, bias = expected_layers.weights(model, "molecule")
    query, memory = np.zeros(UNITS), np.zeros(UNITS)
    result = np.zeros(2 * UNITS)
    for _ in range(3):
        gates = np.split(result @ kernel + query @ recurrent + bias, 4)
        memory = sigmoid(gates[1]) * memory
        memory += sigmoid(gates[0]) * np.tanh(gates[2])
        query = sigmoid(gates[3]) * np.tanh(memory)
        attention = expected_layers.softmax(states @ query)
        result = np.concatenate([query, attention @ states])
    return result


def forward(model, atoms, positions):
    (table,) = expected_layers.weights(model, "elements")
    count = np.sum(atoms > 0)
    states = relu(table[atoms[:count]])
    for _ in range(3):
        states = updated(model, messages(model, states, positions), states)
    kernel, bias = expected_layers.weights(model, "features")
    features = relu(read(model, states) @ kernel + bias)
    outputs = {}
    for task in TASKS:
        kernel, bias = expected_layers.weights(model, task)
        outputs[task] = features @ kernel + bias
    return outputs


@pytest.mark.quick_on_torch
def test_forward_pass():
    model = keras.Model(*network())
    expected_layers.randomize(model)
    x = molecules()
    rows = [
        forward(model, *pair)
        for pair in zip(x["atoms"], np.float64(x["positions"]))
    ]
    expected = {task: np.stack([row[task] for row in rows]) for task in TASKS}
    assert_close(predict(model, x), expected)


@pytest.mark.quick_on_torch
def test_symmetries_and_padding():
    model = keras.Model(
        *mpnn(TASKS, units=UNITS, edge_units=EDGE_UNITS, max_atoms=None)
    )
    expected_layers.randomize(model)
    x = molecules()
    expected = predict(model, x)
    order = [2, 0, 3, 1]
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    moved = np.pad(
        x["positions"][:, order] @ turn + 5, ((0, 0), (0, 3), (0, 0))
    )
    changed = {
        "atoms": np.pad(ATOMS[:, order], ((0, 0), (0, 3))),
        "positions": moved.astype("float32"),
    }
    assert_close(predict(model, changed), expected, atol=1e-4)


@pytest.mark.any_backend
def test_number_of_parameters():
    model = keras.Model(*mpnn(keras_mtl.datasets.qm9.TASKS))
    edges = (1 + 1) * 128 + (128 + 1) * 64 * 64
    convolution = 64 * 64 + 64
    gru = 3 * ((64 + 64) * 64 + 2 * 64)
    set2set = 4 * ((128 + 64) * 64 + 64)
    shared = 10 * 64 + edges + convolution + gru + set2set + (128 + 1) * 64
    assert model.count_params() == shared + 11 * 65 == 616779
    trunk = keras.Model(model.input, model.get_layer("features").output)
    assert trunk.count_params() == shared == 616064


@pytest.mark.quick_on_torch
@pytest.mark.parametrize("gradients", ["parameters", "features"])
def test_trains_every_variable_and_is_saved(gradients, tmp_path):
    model = keras_mtl.MultiTaskModel(*network())
    weighting = keras_mtl.weightings.NashMTL(gradients=gradients)
    losses = dict.fromkeys(TASKS, "mse")
    model.compile("adam", losses, weighting=weighting, run_eagerly=True)
    x = molecules()
    before = {v.path: np.array(v.numpy()) for v in model.trainable_variables}
    targets = {"energy": np.ones((3, 1)), "dipole": np.arange(3.0)[:, None]}
    model.fit(x, targets, epochs=3, verbose=0)
    for v in model.trainable_variables:
        assert not np.array_equal(before[v.path], v.numpy()), v.path
    loaded = expected_layers.saved_and_loaded(model, tmp_path)
    assert_close(predict(loaded, x), predict(model, x))


@pytest.mark.quick_on_torch
def test_half_precision():
    model = keras.Model(*network())
    expected_layers.randomize(model, scale=0.2)
    expected = predict(model, molecules())
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        half = keras.Model(*network())
    finally:
        keras.config.set_dtype_policy(policy)
    half.set_weights(model.get_weights())
    assert_close(predict(half, molecules()), expected, rtol=0.02, atol=0.01)


@pytest.mark.any_backend
def test_config_round_trip():
    for layer in (PairFeatures(5), AtomUpdate(), EdgeConvolution(), Set2Set(4)):
        config = keras.saving.serialize_keras_object(layer)
        name = f"keras_mtl>{type(layer).__name__}"
        assert config["registered_name"] == name
        copy = keras.saving.deserialize_keras_object(config)
        assert copy.get_config() == layer.get_config()
