"""The README says what the code does."""

import pathlib
import re

import keras
import numpy as np
import pytest

import keras_mtl

README = pathlib.Path(__file__).parent.parent / "README.md"


def test_first_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = README.read_text(encoding="utf-8")
    example = re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1)
    if keras.backend.backend() == "torch":
        # Keras exports no SavedModel from PyTorch.
        example = example.replace("model.export", "print")
    # Images: the losses of some backends differ for them.
    inputs = keras.Input((4, 4, 3))
    features = keras.layers.Conv2D(2, 1, activation="relu")(inputs)
    rng = np.random.default_rng(0)
    names = {
        "inputs": inputs,
        "depth": keras.layers.Conv2D(1, 1)(features),
        "seg": keras.layers.Conv2D(5, 1)(features),
        "x": rng.normal(size=(16, 4, 4, 3)).astype("float32"),
        "y_depth": rng.uniform(size=(16, 4, 4, 1)).astype("float32"),
        "y_seg": rng.integers(0, 5, (16, 4, 4)),
    }
    exec(example, names)
    assert len(names["history"].history["weight/seg"]) == 10
    assert names["model"].tasks == ["seg", "depth"]


def test_ways_to_give_a_weighting():
    text = README.read_text(encoding="utf-8")
    example = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[1]
    inputs = keras.Input((3,))
    features = keras.layers.Dense(4)(inputs)
    tasks = ("seg", "depth")
    outputs = {name: keras.layers.Dense(1)(features) for name in tasks}
    model = keras_mtl.MultiTaskModel(inputs, outputs)

    class Data(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            x = np.ones((4, 3), "float32")
            return x, {name: x[:, :1] for name in tasks}

    example = example.replace("loss=...", "loss='mse'")
    exec(
        example,
        {
            "model": model,
            "optimizer": "adam",
            "data": Data(),
            "keras_mtl": keras_mtl,
        },
    )
    assert model.weighting.measurement.update_every == 10


def test_watching_conflicts():
    text = README.read_text(encoding="utf-8")
    text = text[text.index("## Do the tasks conflict?") :]
    example = re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1)
    inputs = keras.Input((3,))
    features = keras.layers.Dense(4)(inputs)
    outputs = {name: keras.layers.Dense(1)(features) for name in "ab"}
    model = keras_mtl.MultiTaskModel(inputs, outputs)
    model.compile("adam", loss="mse")
    x = np.ones((4, 3), "float32")
    y = {name: x[:, :1] for name in "ab"}
    names = {"x": x, "y": y, "x_batch": x, "y_batch": y, "model": model}
    names["keras_mtl"] = keras_mtl
    exec(example, names)
    assert names["watch"].cosines.shape == (5, 2, 2)
    assert names["gramian"].shape == (2, 2)


def test_task_selection(monkeypatch):
    pytest.importorskip("cma")
    pytest.importorskip("matplotlib")
    text = README.read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (example,) = (x for x in examples if "TaskSampler" in x)
    inputs = keras.Input((3,))
    features = keras.layers.Dense(4)(inputs)
    outputs = {
        name: keras.layers.Dense(1)(features) for name in ("cola", "sst2")
    }
    model = keras_mtl.MultiTaskModel(inputs, outputs)
    model.compile("sgd", loss="mse")
    x = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
    names = {
        "model": model,
        "keras_mtl": keras_mtl,
        "x_cola": x,
        "y_cola": x[:, :1],
        "sst2_dataset": (x[:9], x[:9, 1:2]),
    }
    with pytest.warns(UserWarning, match="effective sample size"):
        exec(example.replace("1000", "20"), names)
    assert len(names["sampler"].log) == 60
    np.testing.assert_allclose(names["policy"].probabilities.sum(), 1.0)


def test_a_training_that_is_killed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = README.read_text(encoding="utf-8")
    text = text[text.index("## A training that is killed") :]
    example = re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1)
    inputs = keras.Input((3,))
    outputs = {name: keras.layers.Dense(1)(inputs) for name in "ab"}
    model = keras_mtl.MultiTaskModel(inputs, outputs)
    model.compile("adam", loss="mse")
    x = np.ones((4, 3), "float32")
    y = {name: x[:, :1] for name in "ab"}
    names = {"x": x, "y": y, "model": model, "keras_mtl": keras_mtl}
    exec(example, names)
    assert len(names["history"].history["loss"]) == 10
    model.save("7.keras")
    (code,) = re.findall(r"`(keras.models.load_model\(.*)`:?", text)
    history = eval(code.removesuffix(":"), {**names, "keras": keras})
    assert history.epoch == [7, 8, 9]


def test_the_graph_in_tensorboard(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    monkeypatch.chdir(tmp_path)
    text = README.read_text(encoding="utf-8")
    (code,) = re.findall(r"`(keras.callbacks.TensorBoard\(\".*)`", text)
    inputs = keras.Input((3,))
    outputs = {name: keras.layers.Dense(1)(inputs) for name in "ab"}
    model = keras_mtl.MultiTaskModel(inputs, outputs)
    eval(code, {"keras": keras, "model": model})
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(b"graph_keras_model" in path.read_bytes() for path in files)


def test_early_stopping_restores_the_network_alone():
    inputs = keras.Input((3,))
    outputs = {name: keras.layers.Dense(1)(inputs) for name in "ab"}
    model = keras_mtl.MultiTaskModel(inputs, outputs)
    model.compile("sgd", loss="mse", weighting="uncertainty")
    x = np.ones((4, 3), "float32")
    states = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["worse"] = epoch
            variables = self.model.weighting.variables
            states.append(list(map(keras.ops.convert_to_numpy, variables)))
            states.append(self.model.get_weights())

    stop = keras.callbacks.EarlyStopping(
        "worse", patience=1, mode="min", restore_best_weights=True
    )
    y = {name: x[:, :1] for name in "ab"}
    model.fit(x, y, epochs=3, verbose=0, callbacks=[Watch(), stop])
    _, best, last, _ = states
    np.testing.assert_equal(model.get_weights(), best)
    variables = model.weighting.variables
    np.testing.assert_equal(
        list(map(keras.ops.convert_to_numpy, variables)), last
    )
