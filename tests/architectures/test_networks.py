"""Each architecture against NumPy, its split, its training and its files."""

import warnings

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl
from keras_mtl import architectures
from keras_mtl.training.graph import split_of
from keras_mtl.training.parameters_by_task import parameters_by_task
from tests.architectures import networks
from tests.architectures.networks import NETWORKS
from tests.architectures.networks import TASKS
from tests.architectures.networks import X
from tests.architectures.networks import Y
from tests.architectures.networks import model_of
from tests.models.numpy_layers import assert_close
from tests.models.numpy_layers import predict
from tests.models.numpy_layers import randomize
from tests.models.numpy_layers import saved_and_loaded

every_network = pytest.mark.parametrize("name", NETWORKS)


@every_network
def test_forward_pass(name):
    model = model_of(name)
    randomize(model)
    expected = networks.forward(name, model, X)
    assert_close(predict(model, X), expected)
    assert {np.std(y) > 0 for y in expected.values()} == {True}


@pytest.mark.any_backend
@every_network
def test_shared_and_own_parameters(name):
    model = model_of(name)
    rows = parameters_by_task(split_of(model), model.weights)
    trained = {row.part: row.trained for row in rows}
    shared, own = networks.SHARED_AND_OWN[name]
    assert trained == {
        "shared": shared,
        **dict.fromkeys(TASKS, own),
        "(total)": shared + 3 * own,
    }


@pytest.mark.any_backend
@every_network
def test_conflicts_are_seen_at_the_boundary(name):
    """A tensor that the trunk hands out goes to all tasks."""
    model = model_of(name)
    assert sorted(TASKS) in map(sorted, split_of(model).boundary.values())
    weighting = keras_mtl.weightings.CAGrad(gradients="features")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.compile("sgd", "mse", weighting=weighting)


@pytest.mark.quick_on_torch
@every_network
def test_training_and_file(name, tmp_path):
    keras.utils.set_random_seed(1)
    model = model_of(name)
    weighting = keras_mtl.weightings.NashMTL(gradients="features")
    model.compile("sgd", "mse", weighting=weighting, run_eagerly=True)
    before = {v.path: np.array(v.numpy()) for v in model.trainable_variables}
    model.fit(X, Y, epochs=4, batch_size=3, verbose=0)
    still = [
        v.path
        for v in model.trainable_variables
        if np.array_equal(before[v.path], v.numpy())
    ]
    assert still == []
    loaded = saved_and_loaded(model, tmp_path)
    assert_close(predict(loaded, X), predict(model, X), 1e-6, 1e-6)


@pytest.mark.quick_on_torch
@every_network
def test_half_precision(name):
    expected = model_of(name)
    randomize(expected)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = model_of(name)
    finally:
        keras.config.set_dtype_policy("float32")
    model.set_weights(expected.get_weights())
    outputs = model(X, training=True)
    for y in outputs.values():
        assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
        assert np.isfinite(ops.convert_to_numpy(ops.cast(y, "float32"))).all()
    outputs = model(X, training=False)
    found = {t: ops.cast(y, "float32") for t, y in outputs.items()}
    for task, y in predict(expected, X).items():
        actual = ops.convert_to_numpy(found[task])
        np.testing.assert_allclose(actual, y, rtol=0.05, atol=0.05)


@pytest.mark.quick_on_torch
@pytest.mark.parametrize("name", ["ple", "cross_stitch", "learning_to_branch"])
def test_padding_is_masked(name):
    """What is left of a sequence does not depend on how long the padding is."""
    words = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(5, 4, mask_zero=True)(words)
    pool = keras.layers.GlobalAveragePooling1D()
    with_gates = {"gate_input": pool} if name == "ple" else {}
    features = getattr(architectures, name)(
        x, TASKS, networks.square, **with_gates
    )
    model = keras.Model(words, {t: pool(h) for t, h in features.items()})
    assert_close(
        outputs_of(model, np.array([[1, 2, 0, 0]])),
        outputs_of(model, np.array([[1, 2]])),
    )


def outputs_of(model, x):
    return {t: ops.convert_to_numpy(y) for t, y in model(x).items()}
