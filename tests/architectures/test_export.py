"""All layers of the architectures in a process without keras_mtl."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_mtl
from keras_mtl import architectures
from tests import test_export as exports
from tests.architectures.networks import NETWORKS

pytestmark = pytest.mark.slow


def model_of_all():
    """One output for each architecture."""
    x = keras.Input((4,), name="x")
    outputs = {}
    for name, build in NETWORKS.items():
        features = list(build(x).values())
        outputs[name] = layers.Dense(1)(layers.Concatenate()(features))
    z = keras.Input((4,))
    backbone = keras.Model(z, layers.Dense(4, "relu")(z))
    adapted = architectures.lora(backbone, ["a"], x)["a"]
    outputs["lora"] = layers.Dense(1)(adapted)
    outputs["reversed"] = architectures.GradientReversal()(adapted)
    model = keras_mtl.MultiTaskModel(x, outputs)
    for layer in map(model.get_layer, ["lora_a", "dselect_k_a_gate"]):
        for v in layer.trainable_variables:
            v.assign(np.random.default_rng(0).normal(size=v.shape))
    return model


def saved_queries(path, model):
    """Saves inputs of two batch sizes, and returns what is predicted."""
    expected = []
    for i, size in enumerate((1, 5)):
        x = np.random.default_rng(i).normal(size=(size, 4)).astype("float32")
        np.savez(path / f"query_{i}.npz", x=x)
        y = model.predict_on_batch(x)
        expected.append({k: np.asarray(v).tolist() for k, v in y.items()})
    return expected


@pytest.mark.filterwarnings("ignore")
def test_onnx(tmp_path):
    exports.import_onnx()
    model = model_of_all()
    model.export(tmp_path / "model.onnx", format="onnx", verbose=False)
    expected = saved_queries(tmp_path, model)
    answers = exports.query(exports.SERVE_WITH_ONNX_RUNTIME, tmp_path, 2)
    exports.assert_answers(answers, expected)


SERVE_WITH_TENSORFLOW = """
import json, sys
import numpy as np, tensorflow as tf
folder, count = sys.argv[1], int(sys.argv[2])
model = tf.saved_model.load(f"{folder}/model")
answers = []
for i in range(count):
    y = model.serve(tf.constant(np.load(f"{folder}/query_{i}.npz")["x"]))
    answers.append({k: v.numpy().tolist() for k, v in y.items()})
print("ANSWER", json.dumps(answers))
"""


@exports.needs_saved_model
def test_saved_model(tmp_path):
    pytest.importorskip("tensorflow")
    model = model_of_all()
    model.export(tmp_path / "model", verbose=False)
    expected = saved_queries(tmp_path, model)
    answers = exports.query(SERVE_WITH_TENSORFLOW, tmp_path, 2)
    exports.assert_answers(answers, expected)
