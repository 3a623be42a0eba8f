import json

import numpy as np
import pytest

from experiments import mtl_bandit
from keras_mtl.selection import BanditEnvironment


@pytest.mark.any_backend
def test_environment_is_that_of_the_paper():
    for seed in range(20):
        env = BanditEnvironment(num_tasks=8, num_steps=4000, seed=seed)
        np.testing.assert_allclose(env.oracle.sum(), 1)
        assert np.all((env.max_scores >= 0.5) & (env.max_scores <= 1))
        np.testing.assert_allclose(
            env.increments, env.max_scores / (4000 * env.oracle)
        )
        ratio = env.forget_increments / env.increments
        assert np.all((ratio >= 0) & (ratio <= 0.01)) and ratio.max() > 0.004
    draws = [BanditEnvironment(4, seed=i, alpha=2.0) for i in range(2000)]
    variance = np.var([env.oracle for env in draws], axis=0)
    # This is the variance of a component of a symmetric Dirichlet distribution.
    np.testing.assert_allclose(variance, 3 / (16 * 9), rtol=0.15)


@pytest.mark.any_backend
def test_steps_against_plain_arithmetic():
    env = BanditEnvironment(num_tasks=3, num_steps=60, seed=0)
    expected = [0.0, 0.0, 0.0]
    rng = np.random.default_rng(0)
    for _ in range(300):
        task = int(rng.integers(3))
        before = expected[task]
        expected[task] = min(
            before + env.increments[task], env.max_scores[task]
        )
        for k in range(3):
            expected[k] = max(expected[k] - env.forget_increments[k], 0.0)
        assert env.step(task) == (before, expected[task])
        np.testing.assert_array_equal(env.scores, expected)
    env.reset()
    np.testing.assert_array_equal(env.scores, np.zeros(3))


@pytest.mark.any_backend
def test_choosing_as_the_oracle_learns_all_tasks():
    env = BanditEnvironment(num_tasks=5, num_steps=2000, seed=3)
    for task in np.repeat(np.arange(5), np.ceil(env.oracle * 2000).astype(int)):
        env.step(task)
    # All but what was forgotten: 1 % of what 2000 steps would have taught.
    assert np.all(env.scores > env.max_scores - 2000 * env.forget_increments)


@pytest.mark.any_backend
def test_seed():
    first, same, other = (BanditEnvironment(seed=i) for i in (0, 0, 1))
    np.testing.assert_array_equal(first.oracle, same.oracle)
    assert np.any(first.oracle != other.oracle)


@pytest.mark.any_backend
@pytest.mark.parametrize("name", ["num_tasks", "num_steps", "alpha"])
def test_bad_arguments(name):
    with pytest.raises(ValueError, match=f"Expected `{name}` to be .*positive"):
        BanditEnvironment(**{name: 0})


# Few steps, of which the policies are learned.
@pytest.mark.any_backend
@pytest.mark.filterwarnings("ignore:The effective sample size")
def test_experiment(tmp_path, monkeypatch, capsys):
    pytest.importorskip("cma")
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(mtl_bandit, "ENTROPY_WEIGHTS", (0.2, 0.5))
    monkeypatch.setattr(mtl_bandit, "PAPER_GRID", (0.2,))
    arguments = "--environments 2 --steps 400 --seeds 2 --output-dir"
    mtl_bandit.main([*arguments.split(), str(tmp_path)])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "mtl_bandit.json",
        "mtl_bandit.png",
    ]
    summary = json.loads((tmp_path / "mtl_bandit.json").read_text())
    assert len(summary["environments"]) == 2
    for environment in summary["environments"]:
        by_weight = environment["gap_closed_by_entropy_weight"]
        assert environment["gap_closed_with_the_paper_grid"] == by_weight["0.2"]
        weight = environment["entropy_weight"]
        assert environment["gap_closed"] == by_weight[str(weight)]
    assert "median of the gap closed" in capsys.readouterr().out


@pytest.mark.any_backend
def test_committed_results():
    path = mtl_bandit.Path(mtl_bandit.__file__).with_suffix(".json")
    summary = json.loads(path.read_text())
    assert len(summary["environments"]) >= 20
    assert summary["steps"] == 4000 and summary["seeds"] == 10
    assert summary["median_gap_closed"] >= 0.5
    assert summary["median_gap_closed_with_the_paper_grid"] >= 0.5
    assert abs(summary["exp3s_minus_random"]["median"]) < 0.05
