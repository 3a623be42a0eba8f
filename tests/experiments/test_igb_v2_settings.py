"""The comparison of IGBv2's settings, on a small scale."""

import json

import pytest

from experiments import igb_v2_settings


@pytest.mark.slow
@pytest.mark.once
def test_experiment(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(igb_v2_settings, "TEMPERATURES", [0.2])
    monkeypatch.setattr(igb_v2_settings, "BOUNDS", [1.0])
    monkeypatch.setattr(igb_v2_settings, "BATCH_SIZE", 960)
    arguments = ["--epochs", "3", "--seeds", "0", "--output-dir", str(tmp_path)]
    igb_v2_settings.main(arguments)
    first = capsys.readouterr().out
    assert first.count("seed 0: ") == 20
    found = json.loads((tmp_path / "igb_v2_settings.json").read_text())
    assert set(found["problems"]) == {"scale", "difficulty"}
    for problem in found["problems"].values():
        assert len(problem) == 6
        # Single-task models, which the weightings share nothing with.
        assert problem["scale_invariant"]["std_log_lambda"] == 0.0
        assert problem["uniform"]["std_log_lambda"] >= 0.0
        for entry in problem.values():
            assert len(entry["delta_m"]) == 1
    # A second call trains nothing, and says the same.
    igb_v2_settings.main(arguments)
    second = capsys.readouterr().out
    assert "seed 0: " not in second
    assert second == first[first.index("Δm") :]
