"""The QM9 experiment, on a tiny budget."""

import importlib.util
import json
import pathlib

import pytest

pytestmark = pytest.mark.once

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


def entry(first, second):
    return {"metrics": {"mu_mae": [first, 0.1], "zpve_mae": [second, 0.2]}}


def test_keeps_earlier_results_of_the_same_settings(experiment, tmp_path):
    path = tmp_path / "qm9.json"
    new = {"epochs": 2, "summary": {"equal": entry(1.0, 3.0)}}
    earlier = {**new, "summary": {"dwa": entry(2.0, 2.0), "equal": "old"}}
    path.write_text(json.dumps(earlier))
    summary = experiment.with_earlier(new, path)["summary"]
    assert list(summary) == ["dwa", "equal"]
    assert summary["equal"]["metrics"] == entry(1.0, 3.0)["metrics"]
    assert [x["mean_rank"] for x in summary.values()] == [1.5, 1.5]
    other = {**new, "epochs": 3}
    assert experiment.with_earlier(other, path) == other
