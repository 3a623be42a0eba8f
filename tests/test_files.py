"""A file from elsewhere cannot run code, and nothing is pickled."""

import ast
import io
import json
import pathlib
import pickle
import zipfile

import keras
import numpy as np
import pytest
from keras import layers

import keras_mtl
from keras_mtl import selection
from keras_mtl import weightings
from tests import killed

PACKAGE = pathlib.Path(keras_mtl.__file__).parent
ROOT = PACKAGE.parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
# Modules whose reading of a file may run what is in it.
UNSAFE = {
    *("cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve", "yaml"),
    *("_pickle", "jsonpickle", "pickletools"),
}


def calls(tree):
    """Yields each call with the dotted name of its function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node, ast.unparse(node.func)


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.any_backend
@pytest.mark.parametrize(
    "path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_source(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for module in imported(tree):
        assert not UNSAFE & set(module.split(".")), module
    for call, name in calls(tree):
        keywords = {k.arg: ast.unparse(k.value) for k in call.keywords}
        assert name not in ("eval", "exec", "__import__"), name
        assert "safe_mode" not in keywords, name
        assert "allow_pickle" not in keywords or (
            keywords["allow_pickle"] == "False"
        )
        if name in (
            *("np.load", "np.save", "np.savez", "np.savez_compressed"),
            *("numpy.load", "torch.load", "torch.save"),
        ):
            assert keywords.get("allow_pickle") == "False", ast.unparse(call)
        assert not name.endswith("enable_unsafe_deserialization")


@pytest.mark.any_backend
def test_the_sources_are_those_of_the_package():
    assert len(SOURCES) > 100
    names = [
        name
        for path in SOURCES
        for _, name in calls(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert "np.load" in names and "np.savez_compressed" in names


class Exploit:
    """Leaves a trace if it is unpickled."""

    ran = False

    def __reduce__(self):
        return exploit, ()


def exploit():
    Exploit.ran = True
    return np.float64(0.5)


@pytest.mark.any_backend
def test_the_exploit_works():
    pickle.loads(pickle.dumps(Exploit()))
    assert Exploit.ran
    Exploit.ran = False


@pytest.fixture
def log_file(tmp_path):
    log = selection.SelectionLog(["a", "b"])
    log.append(task=0, propensity=0.5, reward=1.0, loss=2.0)
    log.save(tmp_path / "log.npz")
    return tmp_path / "log.npz"


@pytest.mark.any_backend
@pytest.mark.parametrize(
    "name", ["format", "tasks", "rewards", "losses", "ends"]
)
def test_a_log_with_objects_is_refused(name, log_file):
    with np.load(log_file, allow_pickle=False) as file:
        arrays = dict(file)
    arrays[name] = np.array([Exploit()], dtype=object)
    np.savez(log_file, **arrays)
    with pytest.raises(ValueError, match=f"Expected {log_file}.*Received"):
        selection.SelectionLog.load(log_file)
    assert not Exploit.ran


@pytest.mark.any_backend
def test_a_log_that_is_a_pickle_is_refused(log_file):
    log_file.write_bytes(pickle.dumps(Exploit()))
    with pytest.raises(ValueError, match=f"Expected {log_file}.*Received"):
        selection.SelectionLog.load(log_file)
    assert not Exploit.ran


def saved(tmp_path):
    model = killed.make_model("uncertainty")
    model.save(tmp_path / "model.keras")
    return tmp_path / "model.keras"


def test_a_keras_file_has_json_and_numbers_only(tmp_path):
    with zipfile.ZipFile(saved(tmp_path)) as file:
        names = file.namelist()
        assert set(names) == {
            "metadata.json",
            "config.json",
            "model.weights.h5",
        }
        for name in names[:2]:
            json.loads(file.read(name))
        h5py = pytest.importorskip("h5py")
        with h5py.File(io.BytesIO(file.read(names[2]))) as weights:
            kinds = []
            weights.visititems(
                lambda _, x: (
                    kinds.append(x.dtype.kind)
                    if isinstance(x, h5py.Dataset)
                    else None
                )
            )
    assert kinds and set(kinds) <= set("fiub")


def edited(path, edit):
    """Replaces the config in a `.keras` file by `edit` of it."""
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    config = edit(parts["config.json"].decode())
    json.loads(config)
    parts["config.json"] = config.encode()
    with zipfile.ZipFile(path, "w") as file:
        for name, content in parts.items():
            file.writestr(name, content)
    return path


def test_a_keras_file_with_a_lambda_is_refused(tmp_path):
    x = keras.Input((2,))
    h = layers.Lambda(lambda x: 2 * x)(layers.Dense(2)(x))
    model = keras_mtl.MultiTaskModel(x, {t: layers.Dense(1)(h) for t in "ab"})
    model.save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match="(?i)lambda.*unsafe|unsafe.*lambda"):
        keras.models.load_model(tmp_path / "model.keras")


@pytest.mark.parametrize(
    "module, name, registered",
    [
        ("os", "system", None),
        ("builtins", "eval", None),
        ("subprocess", "Popen", "subprocess>Popen"),
        ("keras_mtl.cli.demo", "run_demo", None),
        ("nowhere", "Unknown", "keras_mtl>Unknown"),
    ],
)
def test_a_weighting_of_an_unknown_class_is_refused(
    module, name, registered, tmp_path
):
    """Neither by `weightings.get` nor in the file of a model."""
    config = keras.saving.serialize_keras_object(weightings.Uncertainty())
    trace = tmp_path / "trace"
    bad = {
        **config,
        "module": module,
        "class_name": name,
        "registered_name": registered,
        "config": {"command": f"touch {trace}"},
    }
    with pytest.raises((TypeError, ValueError)):
        weightings.get(bad)

    def edit(text):
        content = json.loads(text)
        content["compile_config"]["weighting"] = bad
        return json.dumps(content)

    path = edited(saved(tmp_path), edit)
    with pytest.raises((TypeError, ValueError)):
        keras.models.load_model(path)
    assert not trace.exists()


def test_a_weighting_that_is_a_layer_is_refused():
    for layer in (layers.Dense(2), layers.Lambda(lambda x: x)):
        config = keras.saving.serialize_keras_object(layer)
        with pytest.raises((TypeError, ValueError)):
            weightings.get(config)
