"""Policies learned from the logs of others."""

import math
import warnings
from collections.abc import Callable
from collections.abc import Sequence

import numpy as np

from keras_mtl.selection.estimators import denominators
from keras_mtl.selection.estimators import weighted_importance_sampling
from keras_mtl.selection.fixed import Fixed
from keras_mtl.selection.selection_log import SelectionLog
from keras_mtl.selection.state import make_generator

# CMA-ES starts from the uniform policy. One step of this size from there
# doubles or triples the odds of a task.
INITIAL_STEP_SIZE = 1.0

# The effective sample size, for each task, from which an estimate is trusted.
STEPS_PER_TASK = 30


def counterfactual_policy(
    log: SelectionLog,
    entropy_weight: float | Sequence[float] = 0.2,
    seed: int | np.random.Generator | None = None,
    iterations: int = 50,
    population_size: int = 64,
    propensities: str = "logged",
    evaluate: Callable[[Fixed], float] | None = None,
) -> Fixed:
    """Learns, from a log, the fixed policy with the highest reward.

    The policy is a softmax of `T` numbers, found by CMA-ES. It maximizes the
    `weighted_importance_sampling` estimate of its mean reward plus
    `entropy_weight` times its entropy (in nats), which keeps it near the
    uniform policy. The log is that of one or more trainings, usually with the
    reward `FallingLoss`, joined by `SelectionLog.join`. In two rounds: train
    with `Uniform`, learn a policy, train with it, learn from both logs. The
    last log alone would reward most what its policy neglected.

    Example:

    >>> log = keras_mtl.selection.SelectionLog(tasks=["cola", "sst2"])
    >>> rng = np.random.default_rng(0)
    >>> for _ in range(1000):
    ...     task = int(rng.integers(2))
    ...     log.append(task, propensity=0.5, reward=[0.1, 0.4][task])
    >>> policy = keras_mtl.selection.counterfactual_policy(log, seed=0)
    >>> bool(policy.probabilities[1] > 0.75)
    True

    Args:
        log: A `SelectionLog` in which every task occurs.
        entropy_weight: Float, or a list of floats of which the best is chosen
            by `evaluate`.
        seed: Integer, for CMA-ES.
        iterations: Number of iterations of CMA-ES: 50 in the paper for GLUE, 20
            for its bandit.
        population_size: Number of policies per iteration.
        propensities: As of `importance_sampling`: `"logged"` or `"balance"`.
        evaluate: For several entropy weights: a function that trains with the
            `Fixed` policy it is given and returns a score, higher is better. It
            is called once for each.

    Returns:
        A `Fixed` policy.

    Raises:
        ValueError: If an argument is out of its range, if a task never occurs
            in the log, or if there are several entropy weights and no
            `evaluate`.
        ImportError: If the package `cma` is not installed.

    Warns:
        UserWarning: If the effective sample size is below 30 per task or below
            5 % of the steps. The estimate then rests on few steps, or on
            trainings that went another way than one with the policy would.

    Reference:
        [Glover and Hokamp, 2019](https://arxiv.org/abs/1907.06214), equations
        12 to 14.
    """
    _check_arguments(log, iterations, population_size)
    entropy_weights = np.atleast_1d(np.asarray(entropy_weight, "float64"))
    if not entropy_weights.size or not np.all(entropy_weights >= 0):
        raise ValueError(
            "Expected `entropy_weight` to be at least 0, or a list of such "
            f"numbers. Received: entropy_weight={entropy_weight}"
        )
    if np.ndim(entropy_weight) and evaluate is None:
        raise ValueError(
            "Expected `evaluate`, a function that returns the score of a "
            "training with a policy, to choose from several entropy weights. "
            "Received: None"
        )
    policies = [
        _best_policy(
            _objective(log, weight, propensities),
            len(log.tasks),
            make_generator(seed),
            iterations,
            population_size,
        )
        for weight in entropy_weights
    ]
    policy = policies[0]
    if np.ndim(entropy_weight):
        # The first one with the best score is taken. The score of a training
        # that failed is NaN, and never the best.
        scores = [float(evaluate(policy)) for policy in policies]
        policy = policies[int(np.argmax(np.nan_to_num(scores, nan=-np.inf)))]
    _check_sample_size(log, policy, propensities)
    return policy


def _objective(log, entropy_weight, propensities):
    """Returns the function of probabilities that is maximized (equation 14)."""
    inverse = 1 / denominators(log, propensities)
    # The estimate is a ratio of sums over tasks, so the steps are summed once.
    counts = np.bincount(log.task_indices, inverse, len(log.tasks))
    rewards = np.bincount(
        log.task_indices, inverse * log.rewards, len(log.tasks)
    )

    def objective(probabilities):
        logs = np.log(np.maximum(probabilities, np.finfo("float64").tiny))
        value = probabilities @ rewards / (probabilities @ counts)
        return value - entropy_weight * (probabilities @ logs)

    return objective


def _best_policy(objective, num_tasks, rng, iterations, population_size):
    if num_tasks == 1:
        return Fixed([1.0])
    options = {
        "popsize": population_size,
        # CMA-ES draws from our generator, since by default it seeds NumPy's.
        "randn": lambda *shape: rng.standard_normal(shape),
        "seed": math.nan,
        "verbose": -9,
    }
    search = _cma().CMAEvolutionStrategy(
        np.zeros(num_tasks), INITIAL_STEP_SIZE, options
    )
    for _ in range(iterations):
        candidates = search.ask()
        costs = [-objective(_softmax(x)) for x in candidates]
        search.tell(candidates, costs)
    return Fixed(_softmax(search.result.xbest))


def _cma():
    try:
        import cma
    except ImportError as error:
        raise ImportError(
            "counterfactual_policy needs the package cma. "
            "Type `pip install cma`."
        ) from error
    return cma


def _softmax(x):
    powers = np.exp(x - np.max(x))
    return powers / powers.sum()


def _check_arguments(log, iterations, population_size):
    if not isinstance(log, SelectionLog):
        raise ValueError(
            "Expected `log` to be a `SelectionLog`, such as `sampler.log` of a "
            f"`TaskSampler` after `fit`. Received: {log!r} of type {type(log)}"
        )
    for name, value, least in (
        ("iterations", iterations, 1),
        ("population_size", population_size, 3),
    ):
        if not isinstance(value, int) or value < least:
            raise ValueError(
                f"Expected `{name}` to be an integer of at least {least}. "
                f"Received: {name}={value}"
            )
    present = set(log.task_indices)
    missing = [x for i, x in enumerate(log.tasks) if i not in present]
    if missing:
        raise ValueError(
            "Expected every task to occur in the log, else nothing is known of "
            f"its rewards. Received: a log of {len(log)} steps without "
            f"{missing}. Log at least {_needed_steps(log)} steps, "
            f"{STEPS_PER_TASK} per task, with `Uniform()`, say."
        )


def _needed_steps(log):
    return STEPS_PER_TASK * len(log.tasks)


def _what_to_log(log):
    needed = _needed_steps(log)
    if len(log) < needed:
        return (
            f"Log at least {needed} steps, and better many more: train longer, "
            "or join logs by `SelectionLog.join`."
        )
    return (
        "Log more steps, join the log of a policy nearer to it, or raise "
        "`entropy_weight`."
    )


def _check_sample_size(log, policy, propensities):
    estimate = weighted_importance_sampling(log, policy, propensities)
    needed = max(_needed_steps(log), len(log) / 20)
    if estimate.effective_sample_size < needed:
        warnings.warn(
            "The effective sample size of the policy is too small to trust: "
            f"expected at least {needed:.0f} ({STEPS_PER_TASK} per task, and "
            f"5 % of the steps). Received: "
            f"{estimate.effective_sample_size:.1f}, from {len(log)} logged "
            "steps. " + _what_to_log(log),
            stacklevel=3,
        )
