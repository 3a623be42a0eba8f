"""Table 3 of the IGB paper, on a tiny budget."""

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


@pytest.fixture
def experiment(monkeypatch, tmp_path):
    pytest.importorskip("matplotlib")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    # As when the script is run: it imports `qm9.py` beside it.
    monkeypatch.syspath_prepend(FOLDER)
    spec = importlib.util.spec_from_file_location(
        "igb_ablations_experiment", FOLDER / "igb_ablations.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if utils.BACKEND == "tensorflow":
        # For a few steps, tracing takes longer than it saves.
        compile = functools.partialmethod(
            keras_mtl.MultiTaskModel.compile, run_eagerly=True
        )
        monkeypatch.setattr(keras_mtl.MultiTaskModel, "compile", compile)
    monkeypatch.setattr(module.qm9_experiment, "TASKS", ("mu", "zpve"))
    return module


def run(experiment, output_dir, *arguments):
    budget = ["--epochs", "1", "--seeds", "0", "--agent", "keras"]
    experiment.main([*budget, *arguments, "--output-dir", str(output_dir)])
    (path,) = output_dir.glob("igb_ablations_*.json")
    assert path.with_suffix(".png").exists()
    assert not [*output_dir.glob("*.tmp*")]
    return json.loads(path.read_text())


def test_rows_differ_in_what_their_names_say(experiment):
    rows = experiment.table_rows("keras", 1.0)
    assert list(rows) == list(experiment.PAPER)
    full = rows.pop("igb_v2").get_config()
    assert (full["reward"], full["scale_reward"]) == ("min", True)
    assert full["buffer_size"] == 10000
    changes = {}
    for label, row in rows.items():
        if isinstance(row, str):
            assert row == label
            continue
        config = row.get_config()
        changes[label] = {
            name: config[name]
            for name in full
            if name != "name" and config[name] != full[name]
        }
    assert changes == {
        "igb_v2, reward / min": {"reward": "mean"},
        "igb_v2, reward / α": {"scale_reward": False},
        "igb_v2, buffer 5e3": {"buffer_size": 5000},
        "igb_v2, buffer 5e4": {"buffer_size": 50000},
        "igb_v2, buffer 1e6": {"buffer_size": 1000000},
    }
    scaled = experiment.table_rows("keras", 0.01)
    assert scaled["igb_v2, buffer 5e3"].buffer_size == 50
    assert scaled["igb_v2, reward / α"].buffer_size == 100


@pytest.mark.slow
def test_qm9(experiment, monkeypatch, tmp_path):
    # Found, not imported: it asks for packages that its data do not need.
    if importlib.util.find_spec("qm9pack") is None:
        pytest.skip("needs the data of the package qm9pack")
    rows = ["--rows", "igb_v2, reward / min", "equal"]
    arguments = ["--molecules", "40", *rows]
    first = run(experiment, tmp_path, *arguments)
    assert set(first["single_task"]) == {"mu_mae", "zpve_mae"}
    assert list(first["summary"]) == ["equal", "igb_v2, reward / min"]
    assert first["buffer_sizes"] == {"igb_v2, reward / min": 10000}
    # What is on the disk is not trained again.
    monkeypatch.setattr(experiment.qm9_experiment, "train_single_task", None)
    monkeypatch.setattr(keras_mtl.MultiTaskModel, "fit", None)
    assert run(experiment, tmp_path, *arguments) == first


@pytest.fixture
def nyuv2_dir(tmp_path):
    rng = np.random.default_rng(0)
    shape = 32, 48
    for split in ("train", "val"):
        for i in range(4):
            normal = rng.normal(size=(*shape, 3))
            normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
            normal[0] = 0
            arrays = {
                "image": rng.uniform(size=(*shape, 3)),
                "label": rng.integers(-1, 13, shape),
                "depth": rng.uniform(size=(*shape, 1)).round(1),
                "normal": normal,
            }
            for kind, array in arrays.items():
                folder = tmp_path / "nyuv2" / split / kind
                folder.mkdir(parents=True, exist_ok=True)
                np.save(folder / f"{i}.npy", array)
    return tmp_path / "nyuv2"


@pytest.mark.slow
def test_nyuv2(experiment, nyuv2_dir, tmp_path):
    content = run(
        experiment,
        tmp_path,
        *["--data", "nyuv2", "--data-dir", str(nyuv2_dir)],
        *["--validation", "2", "--rows", "equal", "--widths", "4", "4"],
    )
    names = {
        f"{task}_{metric.name}"
        for task, those in keras_mtl.metrics.scene_metrics().items()
        for metric in those
    }
    assert len(names) == 9
    assert set(content["single_task"]) == names
    entry = content["summary"]["equal"]
    assert set(entry["metrics"]) == names
    assert all(np.isfinite(x) for x, _ in entry["metrics"].values())
    assert 0 < content["single_task"]["normal_mean_angle"] < 180


def test_nyuv2_needs_its_folder(experiment, tmp_path):
    with pytest.raises(SystemExit, match="needs --data-dir"):
        run(experiment, tmp_path, "--data", "nyuv2")
