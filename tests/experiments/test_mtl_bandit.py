"""The MTL bandit, for a few steps."""

import importlib
import json
import pathlib

import pytest

pytestmark = pytest.mark.once

FOLDER = pathlib.Path(__file__).parents[2] / "experiments"


def test_policies_run_in_environments(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    pytest.importorskip("scipy")
    monkeypatch.syspath_prepend(FOLDER)
    script = importlib.import_module("mtl_bandit")
    monkeypatch.setattr(script, "ENTROPY_WEIGHTS", (0.1, 0.5))
    monkeypatch.setattr(script, "PAPER_GRID", (0.1,))
    options = "--environments 2 --steps 60 --seeds 2 --output-dir".split()
    script.main([*options, str(tmp_path)])
    summary = json.loads((tmp_path / "mtl_bandit.json").read_text())
    for environment in summary["environments"]:
        by_weight = environment["gap_closed_by_entropy_weight"]
        assert environment["gap_closed_with_the_paper_grid"] == by_weight["0.1"]
        weight = environment["entropy_weight"]
        assert environment["gap_closed"] == by_weight[str(weight)]
        assert sum(environment["policy"]) == pytest.approx(1, abs=1e-3)
        for scores in environment["scores"].values():
            assert scores["min"] <= scores["median"] <= scores["max"]
    assert (tmp_path / "mtl_bandit.png").stat().st_size > 10_000
