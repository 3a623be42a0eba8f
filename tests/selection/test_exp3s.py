import io
import random

import numpy as np
import pytest
from scipy import special

from keras_mtl import selection


class Reference:
    """Equations 5 and 6 with the whole history of rewards."""

    def __init__(self, num_tasks, eta, epsilon, importance="softmax"):
        self.n, self.eta, self.epsilon = num_tasks, eta, epsilon
        self.importance = importance
        self.omega, self.t, self.history = np.zeros(num_tasks), 1, []

    @property
    def rho(self):
        return special.softmax(self.omega)

    @property
    def pi(self):
        return (1 - self.epsilon) * self.rho + self.epsilon / self.n

    def scale(self, reward):
        self.history.append(reward)
        q20, q80 = np.percentile(self.history, [20, 80])
        if reward < q20:
            return -1
        if reward > q80:
            return 1
        return 0 if q20 == q80 else 2 * (reward - q20) / (q80 - q20) - 1

    def update(self, task, reward):
        divisor = self.rho if self.importance == "softmax" else self.pi
        r = np.zeros(self.n)
        r[task] = self.scale(reward) / divisor[task]
        self.t += 1
        alpha, same = 1 / self.t, np.eye(self.n)
        mixing = (1 - alpha) * same + alpha / (self.n - 1) * (1 - same)
        exponents = np.tile(self.omega + self.eta * r, (self.n, 1))
        self.omega = special.logsumexp(exponents, axis=1, b=mixing)


@pytest.mark.quick_on_torch(1)
@pytest.mark.parametrize("importance", ["softmax", "propensity"])
@pytest.mark.parametrize(
    "num_tasks, eta, epsilon", [(8, 1e-3, 0.05), (3, 0.3, 0.1), (2, 5.0, 0.0)]
)
def test_against_reference(num_tasks, eta, epsilon, importance):
    policy = selection.Exp3S(eta, epsilon, importance=importance, seed=0)
    policy.build([None] * num_tasks)
    reference = Reference(num_tasks, eta, epsilon, importance)
    rng = np.random.default_rng(1)
    for step in range(1000):
        task, propensity = policy.sample(rng)
        # Heavy tails, ties, and a task whose rewards turn.
        reward = round(rng.standard_t(2), 1) + task * np.cos(step / 200)
        policy.update(task, reward, propensity)
        reference.update(task, reward)
        np.testing.assert_allclose(
            policy.probabilities, reference.pi, rtol=1e-8, atol=1e-12
        )
    np.testing.assert_allclose(policy.probabilities.sum(), 1, rtol=1e-14)


def test_default_reservoir_holds_a_thousand_rewards():
    policy = selection.Exp3S(seed=0)
    policy.build([None] * 2)
    assert policy.get_state()["reservoir_values"].shape == (1000,)


def test_reservoir_percentiles_of_long_histories():
    policy = selection.Exp3S(seed=0)
    policy.build([None] * 2)
    rng = np.random.default_rng(0)
    rewards = rng.exponential(size=20_000)
    for reward in rewards:
        policy.update(0, reward, 0.5)
    sample = policy.get_state()["reservoir_values"]
    for q in (0.2, 0.8):
        # The part of all rewards below the quantile of 1000 of them.
        part = np.mean(rewards < np.quantile(sample, q))
        assert abs(part - q) < 3 * np.sqrt(q * (1 - q) / 1000)


def test_equal_rewards_change_nothing():
    policy = selection.Exp3S(seed=0)
    policy.build([None] * 4)
    for task in [0, 0, 0, 1, 0, 2]:
        policy.update(task, 0.7, 0.25)
    np.testing.assert_allclose(policy.probabilities, np.full(4, 0.25))


@pytest.mark.parametrize("reward", [np.nan, np.inf, -np.inf])
def test_rewards_that_are_not_finite_are_ignored(reward):
    policy = selection.Exp3S(seed=0)
    policy.build([None] * 3)
    policy.update(1, 0.5, 1 / 3)
    before = policy.get_state()
    policy.update(1, reward, 1 / 3)
    for key, value in policy.get_state().items():
        np.testing.assert_array_equal(value, before[key])


@pytest.mark.parametrize("importance", ["softmax", "propensity"])
def test_no_overflow(importance):
    policy = selection.Exp3S(
        eta=100.0, epsilon=0.01, importance=importance, scale_rewards=False
    )
    policy.build([None] * 5)
    rng = np.random.default_rng(0)
    for _ in range(3000):
        task, propensity = policy.sample(rng)
        policy.update(task, rng.uniform(-1, 1), propensity)
        p = policy.probabilities
        assert np.all(p >= 0.01 / 5 * (1 - 1e-12)) and np.isfinite(p).all()


def test_propensity_of_another_policy():
    policy = selection.Exp3S(epsilon=0.5, scale_rewards=False)
    policy.build([None] * 2)
    # Below the uniform part, where no `rho` belongs to it.
    policy.update(0, 1.0, 0.1)
    assert np.isfinite(policy.probabilities).all()


def test_single_task():
    policy = selection.Exp3S(seed=0)
    policy.build([None])
    for reward in [0.1, 0.5, -0.5]:
        policy.update(0, reward, 1.0)
    np.testing.assert_array_equal(policy.probabilities, [1.0])


def total_reward(policy, rewards, seed):
    rng = np.random.default_rng(seed)
    policy.build([None] * rewards.shape[1])
    total = 0
    for step_rewards in rewards:
        task, propensity = policy.sample(rng)
        policy.update(task, step_rewards[task], propensity)
        total += step_rewards[task]
    return total


@pytest.mark.quick_on_torch
@pytest.mark.parametrize(
    "arguments, part",
    [
        ({}, 1.0),
        ({"eta": 0.02}, 0.8),
        ({"eta": 0.05, "importance": "propensity"}, 0.4),
    ],
)
def test_regret_on_a_switching_bandit_is_below_that_of_uniform(arguments, part):
    rng = np.random.default_rng(0)
    steps, tasks = 4000, 4
    # The best arm changes twice; the others pay most just before it does.
    best = np.repeat([0, 3, 1], [1500, 1500, 1000])
    means = np.full((steps, tasks), 0.2)
    means[np.arange(steps), best] = 0.8
    rewards = (rng.random((steps, tasks)) < means).astype("float64")
    oracle = rewards[np.arange(steps), best].sum()
    for seed in range(3):
        policy = selection.Exp3S(**arguments, seed=seed)
        learned = oracle - total_reward(policy, rewards, seed)
        uniform = oracle - total_reward(selection.Uniform(), rewards, seed)
        assert learned < part * uniform


def test_resumes_exactly():
    def train(policy, rng, steps):
        draws = []
        for _ in range(steps):
            task, propensity = policy.sample(rng)
            policy.update(task, rng.normal(), propensity)
            draws.append((task, propensity))
        return draws

    policy = selection.Exp3S(eta=0.1, reservoir_size=20, seed=3)
    policy.build([None] * 3)
    train(policy, np.random.default_rng(0), 50)
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **policy.get_state())
    expected = train(policy, np.random.default_rng(1), 50)

    restored = selection.Exp3S(eta=0.1, reservoir_size=20, seed=4)
    restored.build([None] * 3)
    file.seek(0)
    restored.set_state(dict(np.load(file)))
    assert train(restored, np.random.default_rng(1), 50) == expected


def test_state_of_another_policy():
    policy = selection.Exp3S()
    policy.build([None] * 3)
    other = selection.Exp3S()
    other.build([None] * 4)
    with pytest.raises(ValueError, match="the state of Exp3S"):
        policy.set_state(other.get_state())


def test_build_keeps_what_was_learned():
    policy = selection.Exp3S(eta=1.0, scale_rewards=False)
    policy.build([None] * 2)
    policy.update(0, 1.0, 0.5)
    before = policy.probabilities
    policy.build([5, 5])
    np.testing.assert_array_equal(policy.probabilities, before)


def test_the_seed_of_keras_is_the_default():
    def rewards(seed):
        random.seed(seed)
        policy = selection.Exp3S(reservoir_size=5)
        policy.build([None] * 2)
        for reward in range(100):
            policy.update(0, reward, 0.5)
        return policy.get_state()["reservoir_values"]

    np.testing.assert_array_equal(rewards(0), rewards(0))
    assert not np.array_equal(rewards(0), rewards(1))


@pytest.mark.parametrize(
    "arguments",
    [
        {"eta": 0.0},
        {"eta": np.nan},
        {"eta": np.inf},
        {"epsilon": 1.0},
        {"epsilon": -0.1},
        {"epsilon": np.nan},
        {"importance": "weights"},
        {"reservoir_size": 0},
        {"reservoir_size": 2.5},
    ],
)
def test_bad_arguments(arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=f"Expected `{name}`.*Received: "):
        selection.Exp3S(**arguments)
