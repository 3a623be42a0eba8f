"""What a policy would have earned, estimated from the log of others."""

import math

import numpy as np
from numpy.typing import ArrayLike

from keras_mtl.backend import checks
from keras_mtl.selection.estimate import Estimate
from keras_mtl.selection.policy import Policy
from keras_mtl.selection.registry import get
from keras_mtl.selection.selection_log import SelectionLog


def importance_sampling(
    log: SelectionLog, policy: Policy | ArrayLike, propensities: str = "logged"
) -> Estimate:
    """Estimates the mean reward of a policy by importance sampling.

    Each logged reward counts by how much more often the policy would have
    chosen its task. The estimate is unbiased if rewards do not depend on
    earlier choices, and if no task that the policy chooses had a logging
    probability of 0.

    Example:

    >>> log = keras_mtl.selection.SelectionLog(tasks=["cola", "sst2"])
    >>> for task, reward in [(0, 0.0), (1, 1.0), (1, 0.0), (0, 0.5)]:
    ...     log.append(task, propensity=0.5, reward=reward)
    >>> value = keras_mtl.selection.importance_sampling(log, [0.25, 0.75])
    >>> value
    0.4375
    >>> value.effective_sample_size
    3.2

    Args:
        log: A `SelectionLog` of `n` steps.
        policy: A `Policy`, or its probabilities, shape `(T,)`.
        propensities: `"logged"`, a step counts by the probability with which it
            was chosen itself, or `"balance"`, by the mean of the probabilities
            with which all the runs of a joined log choose its task (the balance
            heuristic). The latter varies less where one of the logging policies
            hardly ever chooses some task; see
            `SelectionLog.balanced_propensities`.

    Returns:
        An `Estimate`, a float with attributes `standard_error` and
        `effective_sample_size`.

    Raises:
        ValueError: If the log is empty or has other tasks than the policy.

    Reference:
        [Glover and Hokamp, 2019](https://arxiv.org/abs/1907.06214), equations 8
        to 10; for several logging policies
        [Agarwal et al., 2017](https://arxiv.org/abs/1703.06180).
    """
    weights = _importance_weights(log, policy, propensities)
    terms = weights * log.rewards
    n = len(terms)
    error = np.std(terms, ddof=1) / math.sqrt(n) if n > 1 else math.nan
    size = _effective_sample_size(weights)
    return Estimate(float(np.mean(terms)), float(error), size)


def weighted_importance_sampling(
    log: SelectionLog, policy: Policy | ArrayLike, propensities: str = "logged"
) -> Estimate:
    """Estimates the mean reward of a policy by weighted importance sampling.

    It is the estimate of `importance_sampling` divided by the mean importance
    weight: a little biased, consistent, and of a lower variance.

    Example:

    >>> log = keras_mtl.selection.SelectionLog(tasks=["cola", "sst2"])
    >>> for task, reward in [(0, 0.0), (1, 1.0), (1, 0.0), (1, 0.5)]:
    ...     log.append(task, propensity=0.5, reward=reward)
    >>> policy = keras_mtl.selection.Fixed([0.25, 0.75])
    >>> keras_mtl.selection.weighted_importance_sampling(log, policy)
    0.45

    Args:
        log: A `SelectionLog` of `n` steps.
        policy: A `Policy`, or its probabilities, shape `(T,)`.
        propensities: As of `importance_sampling`.

    Returns:
        An `Estimate`. It is NaN if the policy chooses none of the logged tasks.
        Its standard error is that of the ratio of two means for many steps (the
        delta method).

    Raises:
        ValueError: If the log is empty or has other tasks than the policy.

    Reference:
        [Glover and Hokamp, 2019](https://arxiv.org/abs/1907.06214), equation
        11.
    """
    weights = _importance_weights(log, policy, propensities)
    total = weights.sum()
    if not total > 0:
        return Estimate(math.nan, math.nan, 0.0)
    value = weights @ log.rewards / total
    deviations = weights * (log.rewards - value)
    n = len(weights)
    error = math.nan
    if n > 1:
        error = np.linalg.norm(deviations) / total * math.sqrt(n / (n - 1))
    return Estimate(value, error, _effective_sample_size(weights))


def _importance_weights(log, policy, propensities):
    """How much more often the policy chooses each step's task, shape `(n,)`."""
    policy = get(policy)
    if policy.num_tasks is None:
        policy.build([None] * len(log.tasks))
    if policy.num_tasks != len(log.tasks):
        raise ValueError(
            f"Expected a policy for the {len(log.tasks)} tasks of the log, "
            f"{log.tasks}. Received: {policy!r} for {policy.num_tasks} tasks"
        )
    return policy.probabilities[log.task_indices] / denominators(
        log, propensities
    )


def denominators(log: SelectionLog, propensities: str) -> np.ndarray:
    """The probabilities by which steps are divided, shape `(n,)`."""
    if not len(log):
        raise ValueError("Expected a log with steps. Received: an empty log")
    checks.one_of("propensities", propensities, ["logged", "balance"])
    if propensities == "logged":
        return log.propensities
    return log.balanced_propensities()


def _effective_sample_size(weights):
    total = weights.sum()
    return total**2 / (weights @ weights) if total > 0 else 0.0
