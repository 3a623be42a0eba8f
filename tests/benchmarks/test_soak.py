"""The soak benchmark, with as few steps as it takes."""

import copy
import importlib
import json
import pathlib

import numpy as np
import pytest

from tests import utils

FOLDER = pathlib.Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def soak(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    module = importlib.import_module("soak")
    if not pathlib.Path("/proc/self/status").exists():
        pytest.skip("the memory is read from /proc, as on Linux")
    # Two epochs before the weights of IGBv2, and some after.
    monkeypatch.setattr(module, "SAMPLES", 10)
    monkeypatch.setattr(module, "WARM_UP", 6)
    return module


@pytest.mark.once
@pytest.mark.parametrize(
    "method",
    ["nash_mtl", "exp3s", *utils.further_cases("igb_v2", "bandit_mtl")],
)
def test_what_is_recorded(method, soak):
    assert method in soak.METHODS
    record = soak.measure(method, steps=30, jit=utils.BACKEND == "jax")
    assert record["steps"] == 30 and record["step_ms"] > 0
    assert len(record["memory_mib"]) == len(record["traces"]) == 10
    assert min(record["memory_mib"]) > 50
    assert record["traces"][0] > 0
    assert 0 < record["smallest"] < 4
    assert record["not_finite"] == 0
    # So few steps show no growth, and no drift.
    record["memory_mib"] = [100.0] * 10
    is_traced = utils.BACKEND != "torch"
    assert soak.failures(record, is_traced) == []
    if method == "bandit_mtl":
        assert record["smallest"] < 1
    assert (record["sum_error"] > 0) == (method != "nash_mtl")


GOOD = {
    "steps": 1000,
    "step_ms": 1.0,
    "memory_mib": [100.0, *[200.0] * 5, *[205.0, 203.0, 204.0, 206.0]],
    "traces": [2, *[3] * 9],
    "sum_error": 1e-6,
    "smallest": 1e-4,
    "not_finite": 0.0,
}


@pytest.mark.any_backend
def test_a_sound_training(soak):
    assert soak.failures(GOOD) == []
    assert soak.growth(GOOD) == 1.03
    x = np.arange(4) * 100
    slope = np.polyfit(x, GOOD["memory_mib"][6:], 1)[0] * 2**20
    np.testing.assert_allclose(soak.growth_per_step(GOOD), slope)


@pytest.mark.any_backend
@pytest.mark.parametrize(
    "change, message",
    [
        ({"memory_mib": [200.0] * 9 + [211.0]}, "memory grew to 1.05"),
        ({"traces": [2] * 9 + [4]}, "traced 2 times more"),
        ({"not_finite": 1.0}, "not finite in 1 steps"),
        ({"smallest": 0.0}, "smallest weight was 0"),
        ({"smallest": float("nan")}, "smallest weight was nan"),
        ({"sum_error": 2e-5}, "sum was 2e-05 off"),
        ({"sum_error": float("nan")}, "sum was nan off"),
    ],
)
def test_what_fails(change, message, soak):
    (found,) = soak.failures({**GOOD, **change})
    assert message in found


@pytest.mark.any_backend
def test_the_program(soak, monkeypatch, tmp_path, capsys):
    calls = []

    def in_process(script, backend, *options):
        calls.append((backend, *options))
        record = copy.deepcopy(GOOD)
        if "nash_mtl" in options:
            record["smallest"] = -1.0
        return record

    monkeypatch.setattr(soak.paired, "in_process", in_process)
    arguments = "--modes jax-jit tensorflow --methods bandit_mtl --steps 1000"
    arguments = [*arguments.split(), "--output-dir", str(tmp_path)]
    soak.main(arguments)
    options = ("--methods", "bandit_mtl", "--steps", "1000")
    assert calls == [("jax", *options, "--jit"), ("tensorflow", *options)]
    results = json.loads((tmp_path / "soak.json").read_text())
    assert results["jax-jit, bandit_mtl"] == GOOD
    assert "1.030" in capsys.readouterr().out
    arguments[4] = "nash_mtl"
    with pytest.raises(SystemExit, match="jax-jit, nash_mtl: the smallest"):
        soak.main(arguments)


@pytest.mark.quick_on_torch
def test_a_record_of_weights_that_drift(soak):
    """What the model records is what its weighting returns."""
    cls, _ = soak.watched_model("bandit_mtl", 1)
    model = soak.networks.mlp(cls, 4, width=4, depth=1)
    x, y = soak.networks.data((64,), 8, 4)
    model.compile("sgd", dict.fromkeys(y, "mse"), weighting="bandit_mtl")
    logs = model.fit(x, y, batch_size=8, verbose=0).history
    assert logs["sum_error"][0] < 1e-6 and logs["smallest"][0] > 0
    log_p = np.log([0.4, 0.3, 0.2, 0.2])
    model.weighting.log_p.assign(log_p)
    logs = model.fit(x, y, batch_size=8, verbose=0).history
    np.testing.assert_allclose(logs["sum_error"][0], 0.1, rtol=1e-5)
    np.testing.assert_allclose(logs["smallest"][0], 0.8, rtol=1e-5)


@pytest.mark.any_backend
def test_the_committed_results(soak):
    results = json.loads((FOLDER / "results" / "soak.json").read_text())
    for mode in ("tensorflow", "jax-jit"):
        for method in soak.METHODS:
            record = results[f"{mode}, {method}"]
            assert record["steps"] == 50_000
            soak.SAMPLES, soak.WARM_UP = 100, 20
            assert soak.failures(record) == []
