"""The network against NumPy, and what is trained of it."""

import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl.models import text_cnn
from tests.models import numpy_layers as expected_layers
from tests.models.numpy_layers import assert_close
from tests.models.numpy_layers import predict

TASKS = ("books", "films")
TOKENS = np.random.default_rng(0).integers(0, 11, (3, 6)).astype("int32")


def network(**kwargs):
    return text_cnn(TASKS, 11, units=4, filters=2, **kwargs)


def forward(model, tokens):
    (table,) = expected_layers.weights(model, "words")
    features = []
    for size in (3, 5, 7):
        weights = expected_layers.weights(model, f"convolution_{size}")
        responses = expected_layers.convolve(table[tokens], *weights)
        features.append(expected_layers.relu(responses).max(axis=1))
    features = np.concatenate(features, axis=1)
    outputs = {}
    for task in TASKS:
        kernel, bias = expected_layers.weights(model, task)
        outputs[task] = expected_layers.softmax(features @ kernel + bias)
    return outputs


def test_forward_pass():
    model = keras.Model(*network(classes={"books": 2, "films": 3}))
    expected_layers.randomize(model)
    expected = forward(model, TOKENS)
    assert expected["films"].shape == (3, 3)
    assert_close(predict(model, {"tokens": TOKENS}), expected)


@pytest.mark.quick_on_torch
def test_file(tmp_path):
    model = keras.Model(*network())
    loaded = expected_layers.saved_and_loaded(model, tmp_path)
    inputs = {"tokens": TOKENS}
    assert_close(predict(loaded, inputs), predict(model, inputs))


@pytest.mark.any_backend
def test_number_of_parameters():
    model = keras.Model(*text_cnn(TASKS, 1000))
    convolutions = (3 + 5 + 7) * 50 * 100 + 3 * 100
    heads = 2 * (300 * 2 + 2)
    assert model.count_params() == 1000 * 50 + convolutions + heads


@pytest.mark.quick_on_torch
@pytest.mark.parametrize("trained", [True, False])
def test_given_word_vectors(trained):
    table = np.random.default_rng(0).normal(size=(11, 5)).astype("float32")
    model = keras_mtl.MultiTaskModel(
        *network(embeddings=table, train_embeddings=trained)
    )
    model.compile(
        "adam", loss="sparse_categorical_crossentropy", run_eagerly=True
    )
    model.fit({"tokens": TOKENS}, dict.fromkeys(TASKS, np.ones(3)), verbose=0)
    (after,) = model.get_layer("words").get_weights()
    assert (np.abs(after - table).max() > 0) == trained
    # What is loaded has the vectors of the file, not of the config.
    assert len(str(model.get_config())) < 10_000


@pytest.mark.any_backend
def test_word_vectors_of_another_vocabulary():
    with pytest.raises(ValueError, match="of the 11 words.*shape .10, 4."):
        network(embeddings=np.zeros((10, 4)))


@pytest.mark.any_backend
@pytest.mark.parametrize("tasks", ["books", [], ["a", "a"], [1, 2]])
def test_tasks_that_are_no_names(tasks):
    with pytest.raises(ValueError, match="different names.*Received: tasks="):
        text_cnn(tasks, 11)


@pytest.mark.any_backend
def test_classes_of_other_tasks():
    with pytest.raises(ValueError, match="keys.*Received: classes="):
        network(classes={"books": 2})
    with pytest.raises(ValueError, match="classes"):
        network(classes=0)
