"""The comparison of IGBv2's rewards, on a small scale."""

import importlib
import json
import pathlib

import keras
import numpy as np
import pytest

from keras_mtl.weightings import IGBv2

pytestmark = pytest.mark.once

FOLDER = pathlib.Path(__file__).parents[2] / "experiments"


@pytest.fixture
def igb_v2_rewards(monkeypatch):
    # As when the script is run: it imports the scripts beside it.
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("igb_v2_rewards")


@pytest.mark.slow
def test_experiment(igb_v2_rewards, tmp_path, monkeypatch, capsys):
    generate = igb_v2_rewards.settings.generate
    monkeypatch.setattr(
        igb_v2_rewards.settings,
        "generate",
        lambda name, seed: generate(name, seed, size=64),
    )
    arguments = ["--problems", "scale", "--epochs", "7", "--seeds", "0"]
    arguments += ["--output-dir", str(tmp_path), "--no-progress"]
    igb_v2_rewards.main(arguments)
    first = capsys.readouterr().out
    assert first.count("alone, seed 0") == 4
    found = json.loads((tmp_path / "igb_v2_rewards.json").read_text())["scale"]
    assert set(found["weightings"]) == set(igb_v2_rewards.weightings())
    for label, row in found["weightings"].items():
        assert len(row["delta_m"]) == 1
        # Only what chooses has weights that move.
        is_chosen = "igb_v2" in label or label == "uniform"
        if "8 batches" not in label:  # The epochs are shorter here.
            assert (row["std_log_lambda"] > 0) == is_chosen
    igb_v2_rewards.main(arguments)
    again = capsys.readouterr().out
    assert "alone" not in again and again in first


def test_the_share_that_log_lambda_explains(igb_v2_rewards):
    rng = np.random.default_rng(0)
    weighting = IGBv2(agent="keras", buffer_size=500)
    weighting.build((2,))
    before, actions = rng.uniform(size=(2, 500, 2))
    logits = actions - np.log(np.exp(actions).sum(axis=1, keepdims=True))
    noise = rng.normal(size=500)
    for share in (0.0, 1.0):
        rewards = before @ [1.0, 2.0] + share * logits[:, 0] + 0.01 * noise
        rows = np.hstack([before, actions, rewards[:, None], before])
        weighting.buffer.rows.assign(rows)
        weighting.buffer.added.assign(500)
        found = igb_v2_rewards.r_squared(weighting)
        assert abs(found - share) < 0.02


def test_weights_are_held_for_some_batches(igb_v2_rewards):
    keras.utils.set_random_seed(0)
    weighting = igb_v2_rewards.HeldIGBv2(held=3, agent="keras", seed=0)
    losses = np.array([1.0, 2.0, 4.0])
    weights = [np.array(weighting(losses)) for _ in range(9)]
    for start in (0, 3, 6):
        np.testing.assert_array_equal(weights[start], weights[start + 1])
        np.testing.assert_array_equal(weights[start], weights[start + 2])
    assert not np.array_equal(weights[0], weights[3])
