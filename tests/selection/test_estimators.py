import copy
import math
import pickle

import numpy as np
import pytest

from keras_mtl import selection
from keras_mtl.selection import SelectionLog
from keras_mtl.selection import importance_sampling
from keras_mtl.selection import weighted_importance_sampling

pytestmark = pytest.mark.any_backend

TASKS = ["a", "b", "c", "d"]
MEANS = np.array([0.1, 0.9, 0.4, 0.6])
LOGGING = np.array([0.4, 0.1, 0.3, 0.2])
TARGET = np.array([0.1, 0.5, 0.1, 0.3])
VALUE = TARGET @ MEANS


def simulate(rng, steps, policies=(LOGGING,)):
    """A log of Bernoulli rewards, the steps divided among the policies."""
    logs = []
    for policy in policies:
        log = SelectionLog(TASKS)
        tasks = rng.choice(4, p=policy, size=steps // len(policies))
        rewards = rng.random(len(tasks)) < MEANS[tasks]
        for task, reward in zip(tasks.tolist(), rewards.tolist()):
            log.append(task, policy[task], reward)
        logs.append(log)
    return SelectionLog.join(logs)


def estimates(estimator, steps, repetitions, **kwargs):
    rng = np.random.default_rng(0)
    return [
        estimator(simulate(rng, steps, **kwargs), TARGET)
        for _ in range(repetitions)
    ]


def test_importance_sampling_is_unbiased():
    values = estimates(importance_sampling, steps=40, repetitions=1500)
    error = np.std(values, ddof=1) / math.sqrt(len(values))
    assert abs(np.mean(values) - VALUE) < 3 * error


@pytest.mark.parametrize("propensities", ["logged", "balance"])
def test_importance_sampling_of_several_policies_is_unbiased(propensities):
    rng = np.random.default_rng(1)
    policies = LOGGING, np.array([0.05, 0.05, 0.1, 0.8])
    values = [
        importance_sampling(simulate(rng, 100, policies), TARGET, propensities)
        for _ in range(800)
    ]
    error = np.std(values, ddof=1) / math.sqrt(len(values))
    assert abs(np.mean(values) - VALUE) < 3 * error


def test_weighted_importance_sampling_is_consistent():
    rmse = []
    for steps in (40, 400, 4000):
        values = estimates(weighted_importance_sampling, steps, 40000 // steps)
        rmse.append(np.sqrt(np.mean((np.array(values) - VALUE) ** 2)))
        # It is biased of the order of 1 / steps, with the error's constant.
        error = np.std(values, ddof=1) / math.sqrt(len(values))
        assert abs(np.mean(values) - VALUE) < 3 * error + 1 / steps
    # By a root of 10 each time; ten values leave an error of a quarter.
    assert rmse[2] < 0.5 * rmse[1] and rmse[1] < 0.5 * rmse[0]


def test_weighted_has_the_lower_variance():
    # With rewards that are all alike, only the weights vary.
    rng = np.random.default_rng(2)
    plain, weighted = [], []
    for _ in range(300):
        log = simulate(rng, 50)
        alike = SelectionLog(TASKS)
        for task, propensity in zip(log.task_indices, log.propensities):
            alike.append(task, propensity, 0.7)
        plain.append(importance_sampling(alike, TARGET))
        weighted.append(weighted_importance_sampling(alike, TARGET))
    np.testing.assert_allclose(weighted, 0.7, rtol=1e-12)
    assert np.std(plain) > 0.05


@pytest.mark.parametrize(
    "estimator", [importance_sampling, weighted_importance_sampling]
)
def test_standard_error_is_the_spread_over_repetitions(estimator):
    values = estimates(estimator, steps=400, repetitions=300)
    spread = np.std(values, ddof=1)
    mean = np.mean([value.standard_error for value in values])
    # The spread of 300 values has a relative error of 4 %.
    np.testing.assert_allclose(mean, spread, rtol=0.15)


def test_against_the_equations():
    log = simulate(np.random.default_rng(3), 200)
    w = np.array([TARGET[k] / LOGGING[k] for k in log.task_indices])
    r, n = log.rewards, len(log)
    plain = importance_sampling(log, selection.Fixed(TARGET))
    weighted = weighted_importance_sampling(log, selection.Fixed(TARGET))
    np.testing.assert_allclose(plain, np.sum(w * r) / n, rtol=1e-12)
    np.testing.assert_allclose(weighted, plain / (np.sum(w) / n), rtol=1e-12)
    np.testing.assert_allclose(
        plain.standard_error, np.std(w * r, ddof=1) / np.sqrt(n), rtol=1e-12
    )
    for value in (plain, weighted):
        np.testing.assert_allclose(
            value.effective_sample_size,
            np.sum(w) ** 2 / np.sum(w**2),
            rtol=1e-12,
        )


def test_error_of_the_weighted_estimate_against_the_jackknife():
    log = simulate(np.random.default_rng(4), 300)
    w = TARGET[log.task_indices] / LOGGING[log.task_indices]
    r, n = log.rewards, len(log)
    without = (w @ r - w * r) / (w.sum() - w)
    jackknife = np.sqrt((n - 1) / n * np.sum((without - without.mean()) ** 2))
    value = weighted_importance_sampling(log, TARGET)
    # They agree to the order of 1 / n.
    np.testing.assert_allclose(value.standard_error, jackknife, rtol=0.02)


def test_the_logging_policy_itself():
    log = simulate(np.random.default_rng(5), 100)
    for estimator in (importance_sampling, weighted_importance_sampling):
        value = estimator(log, LOGGING)
        np.testing.assert_allclose(value, log.rewards.mean(), rtol=1e-12)
        np.testing.assert_allclose(value.effective_sample_size, 100)


def test_policies_without_tasks_are_built():
    log = simulate(np.random.default_rng(6), 50)
    value = importance_sampling(log, selection.Uniform())
    np.testing.assert_allclose(value, importance_sampling(log, [0.25] * 4))
    assert importance_sampling(log, "uniform") == value


def test_a_policy_that_chooses_nothing_of_the_log():
    log = SelectionLog(["a", "b"])
    log.append(0, 0.5, 1.0)
    assert importance_sampling(log, [0.0, 1.0]) == 0
    value = weighted_importance_sampling(log, [0.0, 1.0])
    assert math.isnan(value) and value.effective_sample_size == 0
    assert math.isnan(weighted_importance_sampling(log, [1, 0]).standard_error)


def test_estimate_is_a_float():
    value = importance_sampling(simulate(np.random.default_rng(7), 9), TARGET)
    assert isinstance(value, float) and value + 1 == float(value) + 1
    assert "standard_error=" in repr(value)
    for other in (copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
        assert repr(other) == repr(value)


@pytest.mark.parametrize(
    "estimator", [importance_sampling, weighted_importance_sampling]
)
def test_bad_arguments(estimator):
    log = simulate(np.random.default_rng(8), 10)
    with pytest.raises(ValueError, match="policy for the 4 tasks"):
        estimator(log, [0.5, 0.5])
    with pytest.raises(ValueError, match="Received: an empty log"):
        estimator(SelectionLog(TASKS), TARGET)
    with pytest.raises(ValueError, match="`propensities` to be"):
        estimator(log, TARGET, propensities="mean")
