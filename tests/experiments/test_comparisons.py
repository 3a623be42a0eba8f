"""The comparisons of all weightings, on generated data and a tiny budget."""

import csv
import importlib
import importlib.util
import json
import pathlib

import numpy as np
import pytest

import keras_mtl
from keras_mtl.datasets import newsgroups
from keras_mtl.datasets import qm9
from tests.datasets import test_fdu_mtl as fdu_files
from tests.datasets import test_multi_mnist as mnist_files
from tests.datasets import test_newsgroups as newsgroups_files
from tests.datasets import test_nyuv2 as nyuv2_files

pytestmark = [pytest.mark.once, pytest.mark.slow]

FOLDER = pathlib.Path(__file__).parents[2] / "experiments"


@pytest.fixture
def script(monkeypatch):
    pytest.importorskip("matplotlib")
    # As when a script is run: it imports those beside it.
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module


def accuracies(tasks):
    return {f"{task}_accuracy" for task in tasks}


def check(content, labels, keys):
    assert set(content["weightings"]) == set(labels)
    assert keys <= set(content["single_task"])
    for label, row in content["weightings"].items():
        assert row["learning_rate"] > 0
        assert set(row["metrics"]) == keys
        assert ("weights" in row["parameters"]) == (label == "tuned")


def test_multi_mnist(script, tmp_path, monkeypatch):
    labels = ["equal", "tuned", "nash_mtl"]
    monkeypatch.setattr(mnist_files, "SIZES", {"train": 200, "test": 100})
    options = [
        *("--data-dir", str(mnist_files.write(tmp_path / "data"))),
        *("--validation", "100", "--batch-size", "50", "--images", "100"),
        *("--epochs", "2", "--seeds", "0", "1", "--no-progress"),
        *("--weightings", *labels, "--output-dir", str(tmp_path)),
    ]
    script("multi_mnist").main(options)
    content = json.loads((tmp_path / "multi_mnist.json").read_text())
    check(content, labels, accuracies(["left", "right"]))
    assert (tmp_path / "multi_mnist.png").stat().st_size > 10_000
    # What is on the disk is not trained again, without the runs either.
    forget_runs(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(keras_mtl.MultiTaskModel, "fit", None)
        script("multi_mnist").main(options)
    path = tmp_path / "multi_mnist.json"
    assert json.loads(path.read_text()) == content
    # Another weighting joins those of the file.
    script("multi_mnist").main([*options, "--weightings", "uncertainty"])
    more = json.loads(path.read_text())
    check(more, [*labels, "uncertainty"], accuracies(["left", "right"]))
    check_joined(more, content)
    # With other settings, the file begins anew.
    options[options.index("100")] = "90"
    forget_runs(tmp_path)
    script("multi_mnist").main([*options, "--weightings", "equal"])
    assert set(json.loads(path.read_text())["weightings"]) == {"equal"}


def forget_runs(folder):
    for path in folder.glob("*_runs.jsonl"):
        path.unlink()


def check_joined(content, before):
    assert content["single_task"] == before["single_task"]
    for label, row in before["weightings"].items():
        for key in set(row) - {"mean_rank"}:
            assert content["weightings"][label][key] == row[key]
    changes = {}
    for label, row in content["weightings"].items():
        runs = [
            keras_mtl.metrics.delta_m(
                run["metrics"],
                {key: content["single_task"][key] for key in run["metrics"]},
                list(run["metrics"]),
            )
            for run in row["runs"]
        ]
        assert row["delta_m"][0] == pytest.approx(np.mean(runs))
        changes[label] = np.array(runs)
    for other in ("equal", "tuned"):
        found = content["weightings"]["uncertainty"][f"difference_to_{other}"]
        expected = np.mean(changes["uncertainty"] - changes[other])
        assert found[0] == pytest.approx(expected, abs=1e-9)


def test_topics(script, tmp_path, monkeypatch):
    labels = ["equal", "bandit_mtl", "adv_mtl", "uncertainty"]
    # Of fewer texts an accuracy may be 0, to which no change is relative.
    monkeypatch.setattr(newsgroups_files, "SIZES", {"train": 60, "test": 20})
    folder = newsgroups_files.write(tmp_path / "20news", newsgroups.TASKS)
    options = [
        *("topics", "--data-dir", str(folder), "--no-glove"),
        *("--max-words", "8", "--filters", "2", "--batch-size", "64"),
        *("--epochs", "2", "--seeds", "0", "--no-progress"),
        *("--weightings", *labels, "--output-dir", str(tmp_path)),
    ]
    script("text_classification").main(options)
    content = json.loads((tmp_path / "topics.json").read_text())
    check(content, labels, accuracies(newsgroups.TASKS))
    rho = content["weightings"]["bandit_mtl"]["parameters"]["rho"]
    assert rho in script("comparison").PARAMETERS["bandit_mtl"]["rho"]
    # It is another network, not another name of equal weights.
    assert list(content["weightings"]) == labels
    rows = content["weightings"]
    assert rows["adv_mtl"]["metrics"] != rows["equal"]["metrics"]


@pytest.fixture
def molecules(tmp_path, monkeypatch):
    """Makes QM9 small, and returns its two tasks."""
    if importlib.util.find_spec("qm9pack") is None:
        pytest.skip("needs the data of the package qm9pack")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    tasks = ("mu", "zpve")
    whole = qm9.load_data(40, seed=0)
    splits = [(x, {t: y[t] for t in tasks}) for x, y in whole.splits.values()]
    data = keras_mtl.datasets.TaskData(*splits, whole.info)
    monkeypatch.setattr(qm9, "load_data", lambda *args, **kwargs: data)
    return tasks


def test_nash_mtl_claims(script, tmp_path, monkeypatch, molecules):
    module = script("nash_mtl_claims")
    monkeypatch.setattr(module, "SCALED", "mu")
    alone = tmp_path / "alone.json"
    single = {"mu_mae": 1.0, "zpve_mae": 500.0}
    alone.write_text(json.dumps({"single_task": single}))
    module.main(
        [
            *("--epochs", "2", "--seeds", "0", "--single-task", str(alone)),
            *("--output-dir", str(tmp_path)),
        ]
    )
    content = json.loads((tmp_path / "nash_mtl_claims.json").read_text())
    labels = [f"update_every={steps}" for steps in module.UPDATES]
    assert list(content["updates"]) == ["equal", *labels]
    # In two epochs of one batch, the weights are solved once by 5 and by 50.
    _, first, fifth, fiftieth = content["updates"].values()
    assert fifth["delta_m"] == fiftieth["delta_m"] != first["delta_m"]
    apart = content["scales"]["apart"]
    assert max(apart["nash_mtl, x 100"]) < 1e-5
    assert max(apart["equal, x 100"]) > 0.1
    assert (tmp_path / "nash_mtl_claims.png").stat().st_size > 10_000


def test_qm9_tuned(script, tmp_path, molecules):
    tasks = molecules
    labels = ["equal", "random/L", "pivrg", "igb_v1+nash_mtl"]
    script("qm9_tuned").main(
        [
            *("--epochs", "2", "--seeds", "0", "--no-progress"),
            *("--weightings", *labels, "--output-dir", str(tmp_path)),
        ]
    )
    content = json.loads((tmp_path / "qm9_tuned.json").read_text())
    check(content, labels, {f"{task}_mae" for task in tasks})
    # Standardized errors are about 1, and those of zero-point energies 600 meV.
    assert content["single_task"]["zpve_mae"] > 50
    row = content["weightings"]["equal"]["metrics"]["zpve_mae"]
    assert row[0] > 50
    assert (tmp_path / "qm9_tuned.png").stat().st_size > 10_000


@pytest.fixture
def scenes(tmp_path, monkeypatch):
    """A folder with small images."""
    monkeypatch.setattr(nyuv2_files, "SIZES", {"train": 8, "val": 10})
    monkeypatch.setattr(nyuv2_files, "HEIGHT", 8)
    monkeypatch.setattr(nyuv2_files, "WIDTH", 8)
    return nyuv2_files.write(tmp_path / "nyuv2")


def test_nyuv2(script, tmp_path, scenes):
    labels = ["equal", "igb_v1"]
    options = [
        *("--data-dir", str(scenes), "--validation", "4", "--widths", "4", "4"),
        *("--batch-size", "4", "--epochs", "2", "--seeds", "0"),
        *("--no-progress", "--weightings", *labels),
        *("--output-dir", str(tmp_path)),
    ]
    script("nyuv2").main(options)
    content = json.loads((tmp_path / "nyuv2.json").read_text())
    keys = {
        f"{task}_{metric.name}"
        for task, metrics in keras_mtl.metrics.scene_metrics().items()
        for metric in metrics
    }
    assert len(keys) == 9
    check(content, labels, keys)
    assert (tmp_path / "nyuv2.png").stat().st_size > 10_000


def test_architectures(script, tmp_path, monkeypatch):
    module = script("architectures")
    # The two tasks of the files below, and words without GloVe.
    monkeypatch.setattr(module, "TASKS", fdu_files.TASKS)
    monkeypatch.setattr(
        module,
        "glove_embeddings",
        lambda words: np.random.default_rng(0).normal(size=(len(words), 4)),
    )
    folder = fdu_files.write_all(tmp_path / "fdu_mtl")
    names, labels = ["mmoe", "cross_stitch"], ["equal", "uncertainty"]
    module.main(
        [
            *("--data-dir", str(folder), "--epochs", "2", "--seeds", "0", "1"),
            *("--architectures", *names, "--weightings", *labels),
            *("--no-progress", "--output-dir", str(tmp_path)),
        ]
    )
    content = json.loads((tmp_path / "architectures.json").read_text())
    assert set(content["architectures"]) == set(names)
    for row in content["architectures"].values():
        assert row["learning_rate"] in module.RATES
        assert set(row["accuracy"]) == set(labels)
        for values in row["accuracy"].values():
            assert len(values) == 2 and all(0 <= x <= 100 for x in values)
    assert (tmp_path / "architectures.png").stat().st_size > 10_000


def test_architectures_are_of_one_size(script):
    module = script("architectures")
    sizes = [
        module.build_of(name, 50)().count_params()
        for name in module.ARCHITECTURES
    ]
    assert max(sizes) < 1.1 * min(sizes)


def test_scene_architectures(script, tmp_path, scenes):
    module = script("scene_architectures")
    labels = ["equal", "nash_mtl"]
    module.main(
        [
            *("--data-dir", str(scenes), "--validation", "4"),
            *("--epochs", "2", "--seeds", "0", "--batch-size", "4"),
            *("--architectures", "hard_parameter_sharing", "mtan"),
            *("--weightings", *labels),
            *("--no-progress", "--output-dir", str(tmp_path)),
        ]
    )
    content = json.loads((tmp_path / "scene_architectures.json").read_text())
    shared, mtan = content["architectures"].values()
    assert shared["delta_m"]["equal"] == [pytest.approx(0.0, abs=1e-6)]
    for row in (shared, mtan):
        assert set(row["delta_m"]) == set(labels)
        assert all(len(x) == 9 for x in row["metrics"]["nash_mtl"])
        assert "segmentation_mean_iou" in row["higher_is_better"]
    assert (tmp_path / "scene_architectures.png").stat().st_size > 10_000


def test_scene_architectures_are_of_one_size(script):
    module = script("scene_architectures")
    sizes = [
        module.build_of(name, (96, 128, 3))().count_params()
        for name in module.ARCHITECTURES
    ]
    assert max(sizes) < 1.1 * min(sizes)


def test_decision_table(script, tmp_path):
    def row(delta_m, to_equal, to_tuned):
        return {
            "delta_m": [delta_m, 1.0],
            "interval": [delta_m - 2, delta_m + 2],
            "difference_to_equal": to_equal,
            "difference_to_tuned": to_tuned,
            "mean_rank": 1.5,
        }

    weightings = {
        "equal": row(5.0, [0.0, 0.0, 0.0], [1.0, -1.0, 3.0]),
        "tuned": row(4.0, [-1.0, -3.0, 1.0], [0.0, 0.0, 0.0]),
        "nash_mtl": row(1.0, [-4.0, -6.0, -2.0], [-3.0, -4.0, -2.0]),
        "mgda": row(9.0, [4.0, 1.0, 7.0], None),
    }
    (tmp_path / "topics.json").write_text(
        json.dumps({"weightings": weightings})
    )
    (tmp_path / "multi_mnist.json").write_text(
        json.dumps({"weightings": {"mgda": weightings["mgda"]}})
    )
    table = script("decision_table")
    options = ["--results-dir", str(tmp_path), "--output-dir", str(tmp_path)]
    table.main(options)
    with open(tmp_path / "decision_table.csv", newline="") as file:
        rows = {(x["problem"], x["weighting"]): x for x in csv.DictReader(file)}
    assert len(rows) == 5
    nash, mgda = rows["topics", "nash_mtl"], rows["topics", "mgda"]
    assert (nash["low"], nash["high"]) == ("-1.0", "3.0")
    assert nash["against_equal"] == nash["against_tuned"] == "better"
    assert (mgda["against_equal"], mgda["against_tuned"]) == ("worse", "")
    assert rows["topics", "tuned"]["against_equal"] == "no difference"
    assert rows["topics", "equal"]["against_equal"] == ""
    labels, problems, values, _ = table.grid_of(
        table.rows_of(table.read(tmp_path), {})
    )
    assert problems == ["topics", "multi_mnist"]
    # Those that are measured everywhere come first.
    assert labels == ["mgda", "nash_mtl", "tuned", "equal"]
    assert values[0].tolist() == [9.0, 9.0]
    assert (tmp_path / "decision_table.png").stat().st_size > 10_000


def test_every_method_can_be_compared(script):
    comparison = script("comparison")
    problem = comparison.Problem(*[None] * 10)._replace(
        uncertainty_form="classification"
    )
    for label in comparison.METHODS:
        weighting = comparison.weighting_of(label, problem)
        if label != "tuned":
            keras_mtl.weightings.get(weighting)
    for label, parameters in comparison.PARAMETERS.items():
        cls = type(keras_mtl.weightings.get(label))
        for name, values in parameters.items():
            for value in values:
                cls(**{name: value})
