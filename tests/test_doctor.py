"""`keras-mtl doctor`, without the environment that it looks at."""

import importlib.util
import pathlib
import sys
import tomllib

import keras
import pytest

import keras_mtl
from keras_mtl_console import doctor
from keras_mtl_console import installation
from keras_mtl_console import main

ROOT = pathlib.Path(__file__).parent.parent

pytestmark = pytest.mark.any_backend


@pytest.fixture
def versions(monkeypatch):
    """The distributions that seem to be installed, to be changed by a test."""
    versions = {"keras": "3.15.1", "jax": "0.7.0", "matplotlib": "3.10.0"}
    monkeypatch.setattr(doctor, "installed", versions.get)
    monkeypatch.setattr(doctor, "import_error", lambda backend: None)
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.chdir(ROOT)
    return versions


def printed(capsys, status=0):
    assert main(["doctor"]) == status
    return capsys.readouterr().out.splitlines()


def line_of(lines, name):
    (line,) = [x for x in lines if x.split()[:1] == [name]]
    return " ".join(line.split()[1:])


def test_backends(versions, capsys):
    lines = printed(capsys)
    assert line_of(lines, "keras") == "3.15.1"
    assert line_of(lines, "keras_mtl").startswith(keras_mtl.__version__)
    assert line_of(lines, "jax") == "in use 0.7.0"
    missing = 'missing. Type: pip install -e ".[torch]"'
    assert line_of(lines, "torch") == missing
    assert "It works: models can be trained." in lines


def test_versions_that_do_not_fit(versions, capsys):
    versions.update(keras="3.14.0", torch="2.5.1", jax="0.8.0.dev1")
    lines = printed(capsys)
    assert line_of(lines, "keras") == "3.14.0 (expected <3.17,>=3.15)"
    assert line_of(lines, "torch") == "2.5.1 (expected >=2.6)"
    assert line_of(lines, "jax") == "in use 0.8.0.dev1"


def test_extras(versions, capsys):
    lines = printed(capsys)
    at = [x.split()[:1] for x in lines].index
    below = {x: lines[at([x]) + 1].strip() for x in ("plots", "demo", "onnx")}
    assert below["plots"] == ('missing: rich. Type: pip install -e ".[plots]"')
    # With what it takes from other extras.
    assert below["demo"].startswith("missing: rich, tensorflow, qm9pack. ")
    versions["rich"] = "14.0"
    lines = printed(capsys)
    assert lines[at(["plots"]) + 1].strip() == "installed"


def test_extras_that_are_not_for_this_python(versions):
    required = doctor.requirements()
    (tf_agents,) = [x for x in required["tf-agents"] if x.name == "tf-agents"]
    tf_agents.marker = type(tf_agents.marker)("python_version < '3'")
    lacking, refused = doctor.missing("tf-agents", {**required})
    assert "tf-agents" not in lacking and "tf-keras" in lacking
    assert refused == ['tf-agents (python_version < "3")']


def test_the_backend_in_use_fails(versions, capsys, monkeypatch):
    monkeypatch.setattr(doctor, "import_error", lambda backend: "No module")
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    lines = printed(capsys, status=1)
    assert "It fails: No module" in lines
    assert lines[lines.index("It fails: No module") + 1].endswith(
        " KERAS_BACKEND=jax"
    )
    del versions["jax"]
    lines = printed(capsys, status=1)
    line = 'For one of them, type: pip install -e ".[tensorflow]"'
    assert f"No backend is installed. {line}" in lines


def test_an_import_that_fails():
    error = doctor.import_error("theano")
    assert "theano" in error


@pytest.mark.slow
def test_an_import_that_works():
    assert doctor.import_error(keras.backend.backend()) is None


def test_keras_is_missing(versions, capsys, monkeypatch):
    """Then `packaging`, which it brings, may be missing, too."""
    versions.clear()
    monkeypatch.setitem(sys.modules, "packaging", None)
    monkeypatch.setitem(sys.modules, "packaging.requirements", None)
    monkeypatch.setattr(doctor, "import_error", lambda backend: "No module")
    lines = printed(capsys, status=1)
    assert line_of(lines, "keras") == "missing"
    assert line_of(lines, "jax").startswith("in use missing. Type: ")


def test_every_extra_is_explained():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    explained = [*doctor.BACKENDS, *doctor.USES, *doctor.USES_IN_A_CLONE]
    assert sorted(explained) == sorted(extras)


def test_what_pip_has_recorded_is_read(monkeypatch):
    """As in a wheel: there is no pyproject.toml."""
    from email.message import Message

    recorded = Message()
    for line in (
        "keras>=3.15",
        "rich; extra == 'plots'",
        "keras-mtl[plots]; extra == 'demo'",
        "tf-agents; python_version < '9' and extra == 'tf-agents'",
    ):
        recorded["Requires-Dist"] = line
    for extra in ("plots", "demo", "tf-agents"):
        recorded["Provides-Extra"] = extra
    monkeypatch.setattr(installation, "clone", lambda: None)
    monkeypatch.setattr(doctor.metadata, "metadata", lambda name: recorded)
    monkeypatch.setattr(doctor, "installed", {"keras": "3.15.1"}.get)
    required = doctor.requirements()
    assert [x.name for x in required[""]] == ["keras"]
    assert doctor.missing("demo", required) == (["rich"], [])
    assert doctor.missing("tf-agents", required) == (["tf-agents"], [])


# What to type


def test_lines_to_type_in_a_clone(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    assert installation.install_line("jax") == 'pip install -e ".[jax]"'
    monkeypatch.chdir(tmp_path)
    expected = f'pip install -e "{ROOT}[jax]"'
    assert installation.install_line("jax") == expected


@pytest.mark.parametrize(
    "recorded, file",
    [
        ('{"url": "file:///a%20b/keras_mtl-9-any.whl"}', "/a b/keras_mtl-9-"),
        ('{"url": "file:///a/keras_mtl"}', "keras_mtl-0"),
        (None, "keras_mtl-0"),
    ],
)
def test_lines_to_type_with_a_wheel(monkeypatch, recorded, file):
    class Distribution:
        def read_text(self, name):
            return recorded if name == "direct_url.json" else None

    monkeypatch.setattr(installation, "clone", lambda: None)
    monkeypatch.setattr(
        "importlib.metadata.distribution", lambda name: Distribution()
    )
    line = installation.install_line("jax")
    assert line.startswith(f'pip install "{file}')
    assert line.endswith('any.whl[jax]"')


def test_version_is_that_of_the_sources(monkeypatch):
    """What is recorded of an editable installation may be older."""
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.0.1")
    assert installation.version() == keras_mtl.__version__
    monkeypatch.setattr(
        installation, "package_folder", lambda: pathlib.Path("nowhere")
    )
    assert installation.version() == "0.0.1"


@pytest.mark.parametrize(
    "content, backend",
    [
        ('{"backend": "jax"}', "jax"),
        ("{}", "tensorflow"),
        ("no JSON", "tensorflow"),
        (None, "tensorflow"),
    ],
)
def test_backend_is_that_of_keras(content, backend, monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    if content is not None:
        (tmp_path / "keras.json").write_text(content)
    assert installation.configured_backend() == "torch"
    monkeypatch.delenv("KERAS_BACKEND")
    assert installation.configured_backend() == backend


def test_the_package_is_found_without_being_imported(monkeypatch):
    spec = importlib.util.find_spec("keras_mtl")
    monkeypatch.delitem(sys.modules, "keras_mtl")
    assert installation.package_folder() == pathlib.Path(spec.origin).parent
    assert "keras_mtl" not in sys.modules
