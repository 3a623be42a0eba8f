import sys
import warnings

import numpy as np
import pytest
from scipy import optimize
from scipy import special

from keras_mtl import selection
from keras_mtl.selection import SelectionLog
from keras_mtl.selection import counterfactual_policy
from keras_mtl.selection import weighted_importance_sampling

pytestmark = pytest.mark.any_backend

pytest.importorskip("cma")

TASKS = ["a", "b", "c", "d", "e"]
MEANS = np.array([0.1, 0.9, 0.4, 0.6, 0.5])


def simulate(logging, steps, seed=0):
    rng = np.random.default_rng(seed)
    log = SelectionLog(TASKS)
    for _ in range(steps):
        task = int(rng.choice(5, p=logging))
        log.append(task, logging[task], MEANS[task] + 0.1 * rng.normal())
    return log


def objective(log, probabilities, entropy_weight, propensities="logged"):
    value = weighted_importance_sampling(log, probabilities, propensities)
    return value + entropy_weight * special.entr(probabilities).sum()


@pytest.fixture(scope="module")
def log():
    return simulate([0.3, 0.2, 0.2, 0.2, 0.1], 2000)


@pytest.mark.parametrize("entropy_weight", [0.1, 0.2, 1.0])
@pytest.mark.parametrize("propensities", ["logged", "balance"])
def test_maximizes_equation_14(log, entropy_weight, propensities):
    log = SelectionLog.join([log, simulate([0.1, 0.6, 0.1, 0.1, 0.1], 2000)])
    policy = counterfactual_policy(
        log, entropy_weight, seed=0, propensities=propensities
    )
    best = optimize.minimize(
        lambda x: (
            -objective(log, special.softmax(x), entropy_weight, propensities)
        ),
        np.zeros(5),
        method="BFGS",
    )
    np.testing.assert_allclose(
        policy.probabilities, special.softmax(best.x), atol=2e-3
    )


def test_closed_form_of_known_rewards(log):
    # With a mean weight near 1 the optimum is the softmax of the rewards.
    policy = counterfactual_policy(log, 0.2, seed=0)
    np.testing.assert_allclose(
        policy.probabilities, special.softmax(MEANS / 0.2), atol=0.05
    )


def test_twenty_iterations_are_close(log):
    policy = counterfactual_policy(log, 0.2, seed=0, iterations=20)
    best = counterfactual_policy(log, 0.2, seed=0, iterations=200)
    difference = objective(log, best.probabilities, 0.2) - objective(
        log, policy.probabilities, 0.2
    )
    assert 0 <= difference < 2e-3


def test_seed(log):
    policies = [counterfactual_policy(log, seed=i) for i in (1, 1, 2)]
    first, same, other = (policy.probabilities for policy in policies)
    np.testing.assert_array_equal(first, same)
    assert np.any(first != other)


def test_the_random_numbers_of_others_stay_as_they_are(log):
    np.random.seed(0)
    expected = np.random.random(3)
    np.random.seed(0)
    counterfactual_policy(log, seed=5)
    np.testing.assert_array_equal(np.random.random(3), expected)


def test_nothing_is_written(log, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    counterfactual_policy(log, seed=0)
    assert not list(tmp_path.iterdir())
    assert capsys.readouterr().out == ""


def test_several_entropy_weights(log):
    seen = []

    def evaluate(policy):
        assert isinstance(policy, selection.Fixed)
        seen.append(policy)
        return [0.3, 0.7, np.nan][len(seen) - 1]

    weights = [1.0, 0.5, 0.2]
    policy = counterfactual_policy(log, weights, seed=0, evaluate=evaluate)
    assert policy is seen[1] and len(seen) == 3
    np.testing.assert_array_equal(
        policy.probabilities,
        counterfactual_policy(log, 0.5, seed=0)._probabilities,
    )
    with pytest.raises(ValueError, match="Expected `evaluate`"):
        counterfactual_policy(log, weights, seed=0)


def test_no_warning_where_there_is_enough_data(log):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        counterfactual_policy(log, 0.2, seed=0)


@pytest.mark.parametrize(
    "logging, steps, entropy_weight",
    [
        # Too few steps, and too far away from the logging policy.
        ([0.2, 0.2, 0.2, 0.2, 0.2], 60, 0.2),
        ([0.96, 0.01, 0.01, 0.01, 0.01], 12_000, 0.01),
    ],
)
def test_warns_of_a_small_effective_sample_size(logging, steps, entropy_weight):
    log = simulate(logging, steps)
    with pytest.warns(UserWarning, match="effective sample size") as caught:
        counterfactual_policy(log, entropy_weight, seed=0)
    assert caught[0].filename == __file__


def test_single_task():
    log = SelectionLog(["a"])
    for _ in range(100):
        log.append(0, 1.0, 0.5)
    np.testing.assert_array_equal(
        counterfactual_policy(log, seed=0).probabilities, [1.0]
    )


@pytest.mark.parametrize(
    "arguments",
    [
        {"entropy_weight": -0.1},
        {"entropy_weight": np.nan},
        {"entropy_weight": []},
        {"iterations": 0},
        {"iterations": 2.5},
        {"population_size": 2},
        {"propensities": "mean"},
    ],
)
def test_bad_arguments(log, arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=f"Expected `{name}`.*Received: "):
        counterfactual_policy(log, **arguments)


def test_a_task_that_never_occurs():
    log = SelectionLog(TASKS)
    log.append(0, 0.5, 1.0)
    with pytest.raises(ValueError, match=r"without \['b', 'c', 'd', 'e'\]"):
        counterfactual_policy(log)
    with pytest.raises(ValueError, match="every task to occur"):
        counterfactual_policy(SelectionLog(TASKS))


def test_without_cma(log, monkeypatch):
    monkeypatch.setitem(sys.modules, "cma", None)
    with pytest.raises(ImportError, match="pip install"):
        counterfactual_policy(log)
