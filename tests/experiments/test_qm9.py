"""The QM9 experiment, on a tiny budget."""

import importlib.util
import json
import pathlib

import pytest

PATH = pathlib.Path(__file__).parents[2] / "experiments" / "qm9.py"


@pytest.fixture
def experiment(monkeypatch, tmp_path):
    # Found, not imported: it asks for packages that its data do not need.
    if importlib.util.find_spec("qm9pack") is None:
        pytest.skip("needs the data of the package qm9pack")
    pytest.importorskip("matplotlib")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    spec = importlib.util.spec_from_file_location("qm9_experiment", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "TASKS", ("mu", "zpve"))
    return module


def test_compares_with_single_tasks_that_are_trained_once(
    experiment, monkeypatch, tmp_path
):
    budget = "--molecules 40 --epochs 1 --seeds 0 --weightings equal".split()
    arguments = [*budget, "--output-dir", str(tmp_path)]
    experiment.main(arguments)
    first = json.loads((tmp_path / "qm9.json").read_text())
    assert set(first["single_task"]) == {"mu_mae", "zpve_mae"}
    assert (tmp_path / "qm9.png").exists()
    # What is on the disk is not trained again.
    monkeypatch.setattr(experiment, "train_single_task", None)
    experiment.main(arguments)
    assert json.loads((tmp_path / "qm9.json").read_text()) == first
