"""The console command, run as a user runs it."""

import importlib.util
import json
import math
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_mtl.benchmarking import BenchmarkResult
from keras_mtl.cli import demo
from keras_mtl.cli import main as cli
from keras_mtl.datasets import qm9

needs_qm9 = pytest.mark.skipif(
    importlib.util.find_spec("qm9pack") is None,
    reason="needs the molecules of the package qm9pack",
)
SMALL = ["--epochs", "1", "--molecules", "80", "--weightings", "equal"]


@pytest.mark.once
@needs_qm9
def test_demo_prints_plots_and_exports(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    assert cli.main(["demo", *SMALL, "igb_v1+nash_mtl"]) == 0
    printed = capsys.readouterr().out
    assert "homo_mae" in printed and "igb_v1+nash_mtl" in printed
    results = tmp_path / "demo_results"
    assert {path.name for path in results.iterdir()} == {
        *["task_weights.png", "task_losses.png", "delta_m.png"],
        *["results.csv", "results.json"],
    }
    assert json.loads((results / "results.json").read_text())["summary"]
    exported = tmp_path / "saved_models" / "qm9"
    saved = "model.keras" if keras.backend.backend() == "torch" else None
    assert (exported / (saved or "saved_model.pb")).exists()
    # Nothing half-written stays beside it.
    assert list(exported.parent.iterdir()) == [exported]


def test_demo_exports_nothing_that_is_not_finite(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")

    def compare(*args, on_run_end, **kwargs):
        errors = {f"val_{task}_mae": [math.nan] for task in qm9.TASKS}
        record = {
            "label": "equal",
            "seed": 0,
            "seconds_per_step": 1.0,
            "metrics": {"mu_mae": math.nan},
            "history": {"weight/mu": [1.0], "mu_loss": [math.nan], **errors},
        }
        on_run_end(None, record)
        return BenchmarkResult([record], ["mu_mae"], ["equal"])

    split = ({"atoms": np.zeros((1, 1))}, {})
    monkeypatch.setattr(demo, "_load", lambda *args: (split, split, split, {}))
    monkeypatch.setattr(demo, "_compare", compare)
    demo.run_demo(output_dir=tmp_path / "a", export_dir=tmp_path / "b")
    assert "Saved no model" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.once
@needs_qm9
def test_benchmark_continues(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    path = tmp_path / "runs.jsonl"
    command = ["benchmark", *SMALL, "--output", str(path), "--seeds"]
    assert cli.main([*command, "0"]) == 0
    first = path.read_text()
    assert cli.main([*command, "0", "1"]) == 0
    assert path.read_text().startswith(first)
    assert len(path.read_text().splitlines()) == 2


@pytest.mark.any_backend
def test_unknown_weighting_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ["demo", "--molecules", "80", "--weightings", "nash"]
    assert cli.main(arguments) == 1
    assert "Did you mean 'nash_mtl'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.any_backend
@pytest.mark.parametrize("option", ["--epochs", "--molecules"])
def test_counts_are_positive(option, capsys):
    with pytest.raises(SystemExit):
        cli.main(["demo", option, "0"])
    assert "must be 1 or more, is 0" in capsys.readouterr().err


@pytest.mark.any_backend
def test_methods_of_ones_own_are_listed(tmp_path, monkeypatch, capsys):
    (tmp_path / "their_methods.py").write_text(
        "from keras_mtl import weightings\n"
        '@weightings.register("doubled", paper="Doe, Twice", year=2026)\n'
        "class Doubled(weightings.Weighting):\n"
        "    def compute_weights(self, losses):\n"
        "        return 0.0 * losses + 2.0\n"
        "@weightings.register()\n"
        "class NoPaper(weightings.GradientWeighting):\n"
        "    def compute_weights(self, losses, gramian):\n"
        "        return 0.0 * losses + 1.0\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "their_methods", raising=False)
    assert cli.main(["methods"]) == 0
    assert "doubled" not in capsys.readouterr().out
    assert cli.main(["methods", "--import", "their_methods"]) == 0
    *_, doubled, no_paper = capsys.readouterr().out.splitlines()
    assert doubled.split("  ")[0] == "doubled"
    assert "Doubled" in doubled and "Doe, Twice" in doubled
    assert no_paper.split("  ")[0] == "no_paper" and "gradient" in no_paper
    monkeypatch.delitem(sys.modules, "their_methods")


@pytest.mark.any_backend
def test_a_module_that_does_not_exist_is_named(capsys):
    assert cli.main(["methods", "--import", "no_such_module"]) == 1
    assert "no_such_module" in capsys.readouterr().err


@pytest.mark.any_backend
def test_backend_is_switched(tmp_path):
    other = "torch" if keras.backend.backend() != "torch" else "jax"
    pytest.importorskip(other)
    # The error comes after the switch, and needs no data.
    command = ["demo", "--backend", other, "--weightings", "nash"]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    result = subprocess.run(
        [sys.executable, "-m", "keras_mtl.cli", *command],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert "Unknown weighting: 'nash'" in result.stderr
