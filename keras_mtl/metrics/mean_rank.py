import math
from collections.abc import Mapping
from typing import Any

from keras_mtl.metrics import metric_values
from keras_mtl.metrics.metric_values import Directions
from keras_mtl.metrics.metric_values import Results


def mean_rank(
    results_by_method: Mapping[Any, Results],
    higher_is_better: Directions = None,
) -> dict[Any, float]:
    """Computes the rank of each method, averaged over the metrics.

    The best method of a metric has rank 1. Ties share the average of their
    ranks, and values that are not finite share the last ranks.

    Example:

    >>> keras_mtl.metrics.mean_rank({
    ...     "equal": {"seg": 0.40, "depth": 0.51},
    ...     "nash_mtl": {"seg": 0.43, "depth": 0.51},
    ... }, higher_is_better=["seg"])
    {'equal': 1.75, 'nash_mtl': 1.25}

    Args:
        results_by_method: Dict of method to its results, which are a dict of
            task to value, a nested dict or an array, as in `delta_m`.
        higher_is_better: The metrics for which higher is better, as in
            `delta_m`.

    Returns:
        Dict of method to its mean rank, a float from 1 to the number of
        methods.

    Raises:
        ValueError: If there is no method or no metric, or if two methods have
            different metrics.

    Reference:
        The mean rank (MR) of
        [Navon et al., 2022](https://arxiv.org/abs/2202.01017), section 6.
    """
    results = {
        method: metric_values.flatten(values)
        for method, values in results_by_method.items()
    }
    _check_results(results)
    methods = list(results)
    paths = list(results[methods[0]])
    higher = metric_values.directions(higher_is_better, paths)
    totals = dict.fromkeys(methods, 0.0)
    for path in paths:
        costs = [_cost(results[m][path], higher[path]) for m in methods]
        for method, rank in zip(methods, _ranks(costs), strict=True):
            totals[method] += rank
    return {method: total / len(paths) for method, total in totals.items()}


def _cost(value, higher_is_better):
    if not math.isfinite(value):
        return math.inf
    return -value if higher_is_better else value


def _ranks(costs):
    return [
        sum(other < cost for other in costs) + (costs.count(cost) + 1) / 2
        for cost in costs
    ]


def _check_results(results):
    if not results or not all(results.values()):
        raise ValueError(
            "Expected at least one method, each with at least one metric. "
            f"Received: {results}"
        )
    (first, reference), *others = results.items()
    for method, values in others:
        metric_values.check_same_metrics(
            values, reference, f"method '{method}'", f"method '{first}'"
        )
