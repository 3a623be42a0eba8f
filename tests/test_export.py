"""Exported models, queried by programs that do not import keras_mtl."""

import importlib.util
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_mtl
from tests import utils

RNG = np.random.default_rng(2)
# Both the batch size and the length of a sequence differ from call to call.
BATCHES = [(1, 2), (5, 4), (3, 1)]

needs_saved_model = pytest.mark.skipif(
    utils.BACKEND == "torch", reason="Keras exports no SavedModel on PyTorch"
)


def query(program, *arguments):
    """Runs a program on its own and returns the JSON that it prints last."""
    program += """
own = [m for m in sys.modules if m.split(".")[0] in ("keras_mtl", "keras_hub")]
assert not own, own
"""
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env=env,
        cwd=os.fspath(arguments[0]),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = [x for x in done.stdout.splitlines() if x.startswith("ANSWER ")]
    return json.loads(lines[-1].removeprefix("ANSWER "))


def assert_answers(answers, expected):
    """Compares lists of dicts of output name to values."""
    assert len(answers) == len(expected)
    for answer, outputs in zip(answers, expected):
        assert set(answer) == set(outputs)
        for name, values in outputs.items():
            np.testing.assert_allclose(answer[name], values, 1e-5, 1e-6)


def make_model(as_dict):
    """A model with two inputs, whose outputs are not in the order of names."""
    a = keras.Input((3,), name="a")
    b = keras.Input((None, 2), name="b")
    pooled = layers.GlobalAveragePooling1D()(layers.Dense(4)(b))
    h = layers.Concatenate()([layers.Dense(4, activation="tanh")(a), pooled])
    h = layers.BatchNormalization()(h)
    outputs = {
        "z": layers.Dense(1, name="z" if not as_dict else "other")(h),
        "c": layers.Dense(2, activation="softmax", name="c")(h),
    }
    inputs = {"b": b, "a": a} if as_dict else [a, b]
    model = keras_mtl.MultiTaskModel(
        inputs, outputs if as_dict else list(outputs.values())
    )
    model.compile(
        "adam",
        {"z": "mse", "c": "sparse_categorical_crossentropy"},
        weighting=["igb_v1", "nash_mtl"],
        **utils.EAGER,
    )
    return model


def inputs_of(size, length):
    return {
        "a": RNG.normal(size=(size, 3)).astype("float32"),
        "b": RNG.normal(size=(size, length, 2)).astype("float32"),
    }


def trained(as_dict):
    """Returns a model after a step, so that no statistic is the initial one."""
    model = make_model(as_dict)
    y = {"z": np.ones((8, 1), "float32"), "c": np.zeros(8, "int32")}
    x = inputs_of(8, 3)
    if not as_dict:
        x, y = list(x.values()), list(y.values())
    model.fit(x, y, verbose=0)
    return model


def saved_queries(path, model, as_dict):
    """Saves some inputs, and returns what the model predicts for them."""
    expected = []
    for i, shape in enumerate(BATCHES):
        x = inputs_of(*shape)
        np.savez(path / f"query_{i}.npz", **x)
        y = model.predict(x if as_dict else list(x.values()), verbose=0)
        if not as_dict:
            y = dict(zip(["z", "c"], y))
        expected.append({k: v.tolist() for k, v in y.items()})
    return expected


SERVE_WITH_TENSORFLOW = """
import json, sys
import numpy as np, tensorflow as tf
folder, count = sys.argv[1], int(sys.argv[2])
model = tf.saved_model.load(f"{folder}/model")
answers = []
for i in range(count):
    x = dict(np.load(f"{folder}/query_{i}.npz"))
    x = {k: tf.constant(v) for k, v in x.items()}
    for y in (model.serve(x), model.signatures["serving_default"](**x)):
        answers.append({k: v.numpy().tolist() for k, v in y.items()})
print("ANSWER", json.dumps(answers))
"""


@pytest.mark.slow
@needs_saved_model
def test_saved_model_with_several_inputs(tmp_path):
    pytest.importorskip("tensorflow")
    model = trained(as_dict=True)
    model.export(tmp_path / "model", verbose=False)
    expected = saved_queries(tmp_path, model, as_dict=True)
    answers = query(SERVE_WITH_TENSORFLOW, tmp_path, len(BATCHES))
    assert_answers(answers, [y for y in expected for _ in range(2)])


SERVE_WITH_ONNX_RUNTIME = """
import json, sys
import numpy as np, onnxruntime
folder, count = sys.argv[1], int(sys.argv[2])
model = onnxruntime.InferenceSession(f"{folder}/model.onnx")
names = [output.name for output in model.get_outputs()]
answers = []
for i in range(count):
    x = dict(np.load(f"{folder}/query_{i}.npz"))
    answers.append({k: v.tolist() for k, v in zip(names, model.run(None, x))})
print("ANSWER", json.dumps(answers))
"""


def import_onnx():
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    if utils.BACKEND != "torch":
        pytest.importorskip(
            {"tensorflow": "tf2onnx", "jax": "jax2onnx"}[utils.BACKEND]
        )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("as_dict", [True, False])
def test_onnx(as_dict, tmp_path):
    """The names of inputs and outputs are the model's, on every backend."""
    import_onnx()
    model = trained(as_dict)
    model.export(tmp_path / "model.onnx", format="onnx", verbose=False)
    expected = saved_queries(tmp_path, model, as_dict)
    answers = query(SERVE_WITH_ONNX_RUNTIME, tmp_path, len(BATCHES))
    assert_answers(answers, expected)


@keras.saving.register_keras_serializable(package="keras_mtl_tests")
class Probabilities(keras_mtl.MultiTaskModel):
    """Has layers and a variable of its own around its graph."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.last = layers.Dense(3)
        self.last.build((None, 3))
        self.sharpness = self.add_weight(shape=(), initializer="ones")

    def call(self, inputs, training=None):
        outputs = super().call(inputs / 255.0, training=training)
        return {
            name: ops.softmax(self.sharpness * self.last(x))
            for name, x in outputs.items()
        }


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("format", ["onnx", "tf_saved_model"])
def test_an_own_call_is_exported(format, tmp_path):
    x = keras.Input((4,), name="x")
    h = layers.Dense(5)(x)
    model = Probabilities(x, {task: layers.Dense(3)(h) for task in "ab"})
    model.compile("adam", "mse", weighting="uncertainty", **utils.EAGER)
    inputs = 255 * RNG.uniform(size=(6, 4)).astype("float32")
    expected = model.predict_on_batch(inputs)
    np.testing.assert_allclose(expected["a"].sum(-1), 1, 1e-5)
    path = tmp_path / ("model.onnx" if format == "onnx" else "model")
    if format == "onnx":
        import_onnx()
        import onnxruntime

        model.export(path, format=format, verbose=False)
        session = onnxruntime.InferenceSession(path)
        found = dict(zip("ab", session.run(None, {"x": inputs})))
    elif utils.BACKEND == "torch":
        pytest.skip("Keras exports no SavedModel on PyTorch")
    else:
        tf = pytest.importorskip("tensorflow")
        model.export(path, format=format, verbose=False)
        loaded = tf.saved_model.load(path)
        found = loaded.serve(inputs)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, 1e-5, 1e-6)


def test_onnx_with_one_name_for_input_and_output(tmp_path):
    x = keras.Input((3,), name="x")
    outputs = {"x": layers.Dense(3)(x), "y": layers.Dense(1)(x)}
    model = keras_mtl.MultiTaskModel(x, outputs)
    pytest.importorskip("jax2onnx" if utils.BACKEND == "jax" else "onnx")
    with pytest.raises(ValueError, match=r"different names. Received: \['x'\]"):
        model.export(tmp_path / "model.onnx", format="onnx")
    assert not list(tmp_path.iterdir())


# Texts in, tasks out.

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "a",
    "good",
    "film",
    "##s",
]
TEXTS = ["A good film", "films", "a bad, bad film of a good film"]


def text_model():
    """Its inputs are two of the three outputs of a preprocessor of BERT."""
    tokens = keras.Input((None,), dtype="int32", name="token_ids")
    # The preprocessor returns booleans.
    mask = keras.Input((None,), dtype="float32", name="padding_mask")
    h = layers.Embedding(len(WORDS), 4)(tokens) * mask[..., None]
    h = layers.GlobalAveragePooling1D()(h)
    outputs = {
        "sst2": layers.Dense(2, activation="softmax")(h),
        "cola": layers.Dense(1)(h),
    }
    return keras_mtl.MultiTaskModel(
        {"token_ids": tokens, "padding_mask": mask}, outputs
    )


def bert_preprocessor(length=8):
    if importlib.util.find_spec("keras_hub") is None:
        pytest.skip("needs keras_hub")
    pytest.importorskip("tensorflow_text")
    import keras_hub

    tokenizer = keras_hub.models.BertTokenizer(WORDS, lowercase=True)
    return keras_hub.models.BertTextClassifierPreprocessor(
        tokenizer, sequence_length=length
    )


def predict(model, tokens):
    x = {name: np.asarray(tokens[name]) for name in model.input}
    x["padding_mask"] = x["padding_mask"].astype("float32")
    y = model.predict(x, verbose=0)
    return {k: v.tolist() for k, v in y.items()}


SERVE_TEXTS = """
import json, sys
import tensorflow as tf, tensorflow_text
folder, texts = sys.argv[1], json.loads(sys.argv[2])
def values(outputs):
    return {k: v.numpy().tolist() for k, v in outputs.items()}
one = tf.saved_model.load(f"{folder}/one")
two = tf.saved_model.load(f"{folder}/two")
default = one.signatures["serving_default"]
answers = [
    values(one.serve(tf.constant(texts))),
    values(default(inputs=tf.constant(texts[1:2]))),
    values(two.serve(tf.constant(texts), tf.constant(texts[::-1]))),
]
print("ANSWER", json.dumps(answers))
"""


@needs_saved_model
def test_texts_are_served_with_the_preprocessor(tmp_path):
    import tensorflow as tf

    preprocessor = bert_preprocessor()
    model = text_model()
    tokens = preprocessor(TEXTS)
    assert np.asarray(tokens["token_ids"])[0].tolist() == [
        *[2, 5, 6, 7, 3],
        *[0, 0, 0],
    ]
    model.export(tmp_path / "one", preprocessor=preprocessor, verbose=False)
    strings = tf.TensorSpec((None,), tf.string)
    model.export(
        tmp_path / "two",
        preprocessor=lambda a, b: preprocessor((a, b), y=None),
        input_signature=[strings, strings],
        verbose=False,
    )
    expected = [
        predict(model, tokens),
        predict(model, preprocessor(TEXTS[1:2])),
        predict(model, preprocessor((TEXTS, TEXTS[::-1]), y=None)),
    ]
    answers = query(SERVE_TEXTS, tmp_path, json.dumps(TEXTS))
    assert_answers(answers, expected)


@needs_saved_model
def test_a_preprocessor_is_any_function_of_tensors(tmp_path):
    """The endpoint `network` takes what the preprocessor returns."""
    tf = pytest.importorskip("tensorflow")
    x = keras.Input((2,))
    model = keras_mtl.MultiTaskModel(
        x, {t: layers.Dense(1)(x) for t in ("b", "a")}
    )
    model.export(
        tmp_path / "model",
        preprocessor=lambda text: tf.strings.to_number(
            tf.strings.split(text, ",").to_tensor(shape=(None, 2))
        ),
        verbose=False,
    )
    served = tf.saved_model.load(tmp_path / "model")
    numbers = np.array([[1, 2.5], [-3, 4], [0, 0]], "float32")
    expected = {k: ops.convert_to_numpy(v) for k, v in model(numbers).items()}
    texts = tf.constant([",".join(map(str, row)) for row in numbers])
    for outputs in (served.serve(texts), served.network(numbers)):
        assert set(outputs) == {"a", "b"}
        for name, values in expected.items():
            np.testing.assert_allclose(outputs[name], values, 1e-5, 1e-6)


@needs_saved_model
@pytest.mark.parametrize("outputs", [lambda x: {"token_ids": x}, lambda x: x])
def test_preprocessor_without_an_input(outputs, tmp_path):
    tf = pytest.importorskip("tensorflow")
    with pytest.raises(ValueError, match=r"\['token_ids', 'padding_mask'\]"):
        text_model().export(
            tmp_path / "model",
            preprocessor=lambda text: outputs(tf.strings.length(text)),
        )
    assert not list(tmp_path.iterdir())


def test_preprocessor_where_there_is_no_saved_model(tmp_path):
    format = "tf_saved_model" if utils.BACKEND == "torch" else "onnx"
    with pytest.raises(ValueError, match="exported in a SavedModel"):
        text_model().export(
            tmp_path / "model", format, preprocessor=lambda text: text
        )
    assert not list(tmp_path.iterdir())
