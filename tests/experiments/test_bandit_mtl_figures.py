"""Figures 5 to 9 of the BanditMTL paper, on a tiny budget."""

import functools
import importlib.util
import json
import pathlib

import numpy as np
import pytest

import keras_mtl
from tests import utils

pytestmark = pytest.mark.once

FOLDER = pathlib.Path(__file__).parents[2] / "experiments"
# The square root of the precision of float32.
ROUNDING = 3.5e-4


@pytest.fixture
def experiment(monkeypatch, tmp_path):
    pytest.importorskip("matplotlib")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    # As when the script is run: it imports what is beside it.
    monkeypatch.syspath_prepend(FOLDER)
    spec = importlib.util.spec_from_file_location(
        "bandit_mtl_experiment", FOLDER / "bandit_mtl_figures.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if utils.BACKEND == "tensorflow":
        # For a few steps, tracing takes longer than it saves.
        compile = functools.partialmethod(
            keras_mtl.MultiTaskModel.compile, run_eagerly=True
        )
        monkeypatch.setattr(keras_mtl.MultiTaskModel, "compile", compile)
    return module


def run(experiment, output_dir, data, *arguments):
    budget = "--epochs 2 --seeds 0 --rho 0 1.2 --eta 0.5".split()
    output = ["--output-dir", str(output_dir)]
    experiment.main([data, *budget, *arguments, *output])
    stem = f"bandit_mtl_{data}"
    assert (output_dir / f"{stem}.png").exists()
    assert (output_dir / f"{stem}_weights.png").exists()
    assert not [*output_dir.glob("*.tmp*")]
    return json.loads((output_dir / f"{stem}.json").read_text())


def check(content, tasks):
    results = content["results"]
    others = {"uncertainty", "gradnorm", "mgda"}
    assert set(results) == {"rho=1.2, eta=0.5", "rho=0, eta=0.5"} | others
    for entry in results.values():
        assert len(entry["task_variance"]) == 2
        assert set(entry["weights"]) == tasks
        assert np.isfinite(entry["score"])
    # With ρ = 0, all tasks keep the same weight, as far as the divergence is
    # known in float32.
    for weights in results["rho=0, eta=0.5"]["weights"].values():
        np.testing.assert_allclose(weights, 1.0, rtol=ROUNDING)
    moved = [*results["rho=1.2, eta=0.5"]["weights"].values()]
    np.testing.assert_allclose(np.sum(moved, axis=0), len(tasks), rtol=1e-4)
    assert np.ptp(moved) > ROUNDING


@pytest.fixture
def fdu_mtl_dir(tmp_path):
    folder = tmp_path / "fdu_mtl"
    folder.mkdir()
    for task in ("books", "music"):
        for kind, first, count in (("train", 0, 20), ("test", 20, 6)):
            lines = [
                f"{i % 2}\t{task} number {i} is {'good' if i % 2 else 'bad'}"
                for i in range(first, first + count)
            ]
            path = folder / f"{task}.task.{kind}"
            path.write_text("\n".join(lines), encoding="latin1")
    return folder


@pytest.mark.slow
def test_sentiment(experiment, fdu_mtl_dir, monkeypatch, tmp_path):
    arguments = [
        *["--data-dir", str(fdu_mtl_dir), "--tasks", "books", "music"],
        *["--max-words", "8", "--filters", "4", "--no-glove"],
    ]
    first = run(experiment, tmp_path, "sentiment", *arguments)
    check(first, {"books", "music"})
    for entry in first["results"].values():
        assert 0 <= entry["score"] <= 1
    # What is on the disk is not trained again.
    monkeypatch.setattr(keras_mtl.MultiTaskModel, "fit", None)
    assert run(experiment, tmp_path, "sentiment", *arguments) == first


@pytest.mark.slow
def test_qm9(experiment, tmp_path):
    # Found, not imported: it asks for packages that its data do not need.
    if importlib.util.find_spec("qm9pack") is None:
        pytest.skip("needs the data of the package qm9pack")
    arguments = ["--molecules", "40", "--tasks", "mu", "zpve"]
    check(run(experiment, tmp_path, "qm9", *arguments), {"mu", "zpve"})


def test_sentiment_needs_its_folder(experiment, tmp_path):
    with pytest.raises(SystemExit, match="needs --data-dir"):
        run(experiment, tmp_path, "sentiment")
