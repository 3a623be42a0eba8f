"""The README and the pages under `docs/` say what the code does."""

import pathlib
import re

import keras
import numpy as np
import pytest

import keras_mtl

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


def small_model(tasks="ab", features=None):
    """Returns a model with one output for each task, not yet compiled."""
    inputs = keras.Input((3,))
    shared = keras.layers.Dense(features)(inputs) if features else inputs
    outputs = {task: keras.layers.Dense(1)(shared) for task in tasks}
    return keras_mtl.MultiTaskModel(inputs, outputs)


def examples(page):
    return re.findall(r"```python\n(.*?)```", text_of(page), re.DOTALL)


@pytest.mark.any_backend
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    for link in links:
        assert "://" in link or (page.parent / link).exists(), link


@pytest.mark.any_backend
def test_every_page_is_linked_from_the_readme():
    text = text_of("README.md")
    for page in PAGES[1:]:
        assert f"(docs/{page.name})" in text


@pytest.mark.any_backend
def test_nothing_is_installed_from_an_index():
    """The package is on none."""
    for page in PAGES:
        found = re.search(
            r"pip install ['\"]?keras[-_]mtl", page.read_text(encoding="utf-8")
        )
        assert not found, page


@pytest.mark.once
def test_opening_example_runs_as_it_is_pasted(capsys, recwarn):
    (example,) = examples("README.md")
    exec(example, {})
    lines = capsys.readouterr().out.splitlines()
    found = [re.findall(r"([\d.]+)", line) for line in lines]
    (equal, right), (balanced, right_balanced) = found
    assert float(balanced) < float(equal)
    assert float(right_balanced) > float(right)
    # Python does not show a deprecation in a library to its user.
    seen = [w for w in recwarn if w.category is not DeprecationWarning]
    assert not [str(w.message) for w in seen]


@pytest.mark.quick_on_torch
def test_serving(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    example = examples("docs/serving.md")[0].splitlines()
    model = small_model()
    model.compile("adam", loss="mse")
    for line in example:
        is_onnx = "onnx" in line
        if "bert" in line or (is_onnx and keras.backend.backend() != "torch"):
            continue  # Other tests export these.
        if keras.backend.backend() == "torch" and "saved_models" in line:
            continue  # Keras exports no SavedModel from PyTorch.
        if is_onnx:
            pytest.importorskip("onnx")
        exec(line, {"model": model})
    assert (tmp_path / "scene.keras").exists()


@pytest.mark.quick_on_torch
def test_ways_to_give_a_weighting():
    example = examples("docs/training.md")[0]
    tasks = ("seg", "depth")
    model = small_model(tasks, features=4)

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


@pytest.mark.quick_on_torch
def test_watching_a_training(tmp_path, monkeypatch, capsys):
    pytest.importorskip("tensorboard")
    monkeypatch.chdir(tmp_path)
    example = examples("docs/training.md")[2]
    model = small_model(features=4)
    model.compile("adam", loss="mse")
    x = np.ones((4, 3), "float32")
    labels = {name: x[:, :1] for name in "ab"}

    class Data(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return x, labels

    names = {"x": x, "labels": labels, "data": Data(), "model": model}
    exec(example.replace("every=5", ""), {**names, "keras_mtl": keras_mtl})
    assert "weight" in capsys.readouterr().out
    assert any(tmp_path.rglob("*tfevents*"))


@pytest.mark.any_backend
def test_comparing(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    example = examples("docs/comparing.md")[0].replace("epochs=20", "epochs=2")
    example = example.replace('"igb_v1", "nash_mtl"', '"igb_v1"')
    x = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
    y = {name: x[:, i : i + 1] for i, name in enumerate("ab")}
    names = {"build": small_model, "x": x, "y": y, "x_test": x, "y_test": y}
    exec(example, {**names, "losses": "mse", "keras_mtl": keras_mtl})
    assert "igb_v1" in capsys.readouterr().out


@pytest.mark.slow
def test_comparing_fairly(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    fair, equal_cost = examples("docs/comparing.md")[1:3]
    x = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
    y = {name: x[:, i : i + 1] for i, name in enumerate("ab")}
    names = {"losses": "mse", "keras_mtl": keras_mtl}
    names["build"] = lambda: small_model(features=4)
    names |= {
        f"{name}{end}": value
        for name, value in (("x", x), ("y", y))
        for end in ("", "_val", "_test")
    }
    shorter = {
        '"uncertainty", ': "",
        r'"uncertainty": \{.*': "",
        r"\[0.2, 0.4, 0.8\]": "[0.4]",
        r"\[0, 1, 2\]": "[0]",
        "epochs=30": "epochs=3, verbose=0",
        r"weightings=search.best$": "weightings=search.best, rounds=1",
    }
    for old, new in shorter.items():
        fair = re.sub(old, new, fair)
        equal_cost = re.sub(old, new, equal_cost, flags=re.MULTILINE)
    exec(fair, names)
    exec(equal_cost, names)
    text = capsys.readouterr().out
    assert "learning_rate" in text and "Δm" in text
    assert names["search"].trials.keys() == {"equal", "tuned", "cagrad"}
    assert names["times"]["equal"] == 1.0


@pytest.mark.any_backend
def test_choosing_the_best_epoch(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    example = examples("docs/comparing.md")[3]
    model = small_model(("seg", "depth"))
    model.compile("adam", loss="mse", metrics={"depth": "mae"})
    x = np.ones((4, 3), "float32")
    y = {task: x[:, :1] for task in model.tasks}
    names = {"x": x, "y": y, "x_val": x, "y_val": y, "model": model}
    exec(example, {**names, "keras": keras, "keras_mtl": keras_mtl})
    assert (tmp_path / "best.keras").exists()


@pytest.mark.quick_on_torch
def test_watching_conflicts():
    example = examples("docs/comparing.md")[4]
    model = small_model(features=4)
    model.compile("adam", loss="mse")
    x = np.ones((4, 3), "float32")
    y = {name: x[:, :1] for name in "ab"}
    names = {"x": x, "y": y, "x_batch": x, "y_batch": y, "model": model}
    names["keras_mtl"] = keras_mtl
    exec(example, names)
    assert names["watch"].cosines.shape == (5, 2, 2)
    assert names["gramian"].shape == (2, 2)


@pytest.mark.quick_on_torch
def test_task_selection(monkeypatch):
    pytest.importorskip("cma")
    pytest.importorskip("matplotlib")
    (example,) = examples("docs/task_selection.md")
    model = small_model(("cola", "sst2"), features=4)
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


@pytest.mark.quick_on_torch
def test_a_training_that_is_killed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (example,) = examples("docs/resuming.md")
    model = small_model()
    model.compile("adam", loss="mse")
    x = np.ones((4, 3), "float32")
    y = {name: x[:, :1] for name in "ab"}
    names = {"x": x, "y": y, "model": model, "keras_mtl": keras_mtl}
    exec(example, names)
    assert len(names["history"].history["loss"]) == 10
    model.save("7.keras")
    text = text_of("docs/resuming.md")
    (code,) = re.findall(r"`(keras.models.load_model\(.*)`:?", text)
    history = eval(code.removesuffix(":"), {**names, "keras": keras})
    assert history.epoch == [7, 8, 9]


@pytest.mark.any_backend
def test_the_graph_in_tensorboard(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    monkeypatch.chdir(tmp_path)
    text = text_of("docs/training.md")
    (code,) = re.findall(r"`(keras.callbacks.TensorBoard\(\".*)`", text)
    model = small_model()
    eval(code, {"keras": keras, "model": model})
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(b"graph_keras_model" in path.read_bytes() for path in files)


@pytest.mark.quick_on_torch
def test_early_stopping_restores_the_network_alone():
    model = small_model()
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


@pytest.mark.quick_on_torch
@pytest.mark.quick_on_torch
def test_architectures(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    space = {"keras": keras, "keras_mtl": keras_mtl}
    for example in examples("docs/architectures.md"):
        if "backbone" in example:
            tokens = keras.Input((5, 4))
            h = keras.layers.MultiHeadAttention(2, 3)(tokens, tokens)
            space["backbone"] = keras.Model(tokens, h)
        exec(example, space)
    table = capsys.readouterr().out.strip()
    assert table in text_of("docs/architectures.md")
    assert (tmp_path / "model.dot").exists()
    assert sorted(space["model"].output_keys) == ["ctcvr", "ctr"]


@pytest.mark.once
def test_networks():
    first, vectors, scenes = examples("docs/networks.md")
    space = {"keras_mtl": keras_mtl, "tasks": ["a"], "vocabulary": ["", "b"]}
    exec(first, space)
    exec(scenes, space)
    # The vectors themselves are in a package that need not be installed.
    space["embeddings"] = np.ones((2, 50))
    exec(vectors.splitlines()[-1], space)
    assert space["outputs"].keys() == {*space["tasks"]}


@pytest.mark.quick_on_torch
@pytest.mark.parametrize("place", range(3))
def test_losses(place):
    example = examples("docs/losses.md")[place]
    data = np.random.default_rng(0).normal(size=(8, 20)).astype("float32")
    names = {"keras": keras, "keras_mtl": keras_mtl, "ops": keras.ops}
    names |= {"data": data, "labels": data[:, :1], "classes": np.arange(8) % 3}
    exec(example, {**names, "other_labels": data[:, 1:2]})


@pytest.mark.slow
def test_an_application_of_keras():
    exec(examples("docs/loops.md")[0], {"keras": keras, "keras_mtl": keras_mtl})


@pytest.mark.quick_on_torch
def test_a_subclass_of_a_model():
    x = np.random.default_rng(0).normal(size=(8, 20)).astype("float32")
    names = {"keras": keras, "keras_mtl": keras_mtl, "ops": keras.ops}
    names |= {"x": x, "y": x[:, :1]}
    exec(examples("docs/loops.md")[1], names)
    assert names["model"].tasks == ["price", "agreement"]


def test_a_loop():
    names = {"keras_mtl": keras_mtl}
    rng = np.random.default_rng(0)
    batches = [rng.normal(size=(8, 21)).astype("float32") for _ in range(2)]
    batches = [(batch[:, :20], batch[:, 20:]) for batch in batches]
    _, _, on_torch, on_tensorflow, on_jax = examples("docs/loops.md")
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        batches = [tuple(map(torch.from_numpy, pair)) for pair in batches]
        exec(on_torch, {**names, "torch": torch, "batches": batches})
    elif backend == "tensorflow":
        import tensorflow as tf

        names |= {"model": small_model_of(20), "tf": tf, "batches": batches}
        exec(on_tensorflow, {**names, "optimizer": keras.optimizers.SGD()})
    else:
        import jax

        keys = jax.random.split(jax.random.key(0), 3)
        trunk, *heads = (jax.random.normal(k, (20, 16)) for k in keys)
        heads = {task: head[:16, :1] for task, head in zip("ab", heads)}
        names |= {"jax": jax, "jnp": jax.numpy, "batches": batches}
        names["parameters"] = {"trunk": trunk, "heads": heads}
        exec(on_jax, names)
        assert np.all(np.isfinite(list(names["losses"].values())))


def small_model_of(width):
    x = keras.Input((width,))
    h = keras.layers.Dense(4)(x)
    return keras.Model(x, {task: keras.layers.Dense(1)(h) for task in "ab"})
