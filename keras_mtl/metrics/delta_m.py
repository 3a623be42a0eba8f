import math

from keras_mtl.metrics import metric_values
from keras_mtl.metrics.metric_values import Directions
from keras_mtl.metrics.metric_values import Results


def delta_m(
    results: Results, baseline: Results, higher_is_better: Directions = None
) -> float:
    """Computes Δm, the mean relative change for the worse, in percent.

    With `K` metrics over all the tasks, `M` the results, `B` the baseline
    (usually single-task models), and `s` being -1 where a higher value is
    better and 1 elsewhere,

    `delta_m = 100 / K * sum_k s[k] * (M[k] - B[k]) / abs(B[k])`

    Every metric counts the same: a task with five metrics counts five times.
    Negative values are improvements over the baseline.

    Example:

    >>> baseline = {"seg": {"miou": 40.0}, "depth": {"abs": 0.5, "rel": 0.2}}
    >>> results = {"seg": {"miou": 42.0}, "depth": {"abs": 0.55, "rel": 0.2}}
    >>> delta = keras_mtl.metrics.delta_m(results, baseline, ["miou"])
    >>> round(delta, 2)
    1.67

    Args:
        results: Dict of task to value; the values can also be dicts of metric
            to value or arrays, where a task has several metrics. Or an array
            of shape `(K,)`.
        baseline: The same for the baseline, with the same metrics.
        higher_is_better: The metrics for which higher is better: names of
            tasks or metrics, or booleans in the structure of `results`, or one
            boolean for all. By default, lower is better throughout.

    Returns:
        Float, in percent.

    Raises:
        ValueError: If `results` and `baseline` have different metrics, if a
            value is not finite, or if one of `baseline` is zero.

    Reference:
        [Dai et al., 2023](https://arxiv.org/abs/2307.15429), equation 5. It
        divides by `B[k]`, which is the same for the positive metrics there.
    """
    results = metric_values.flatten(results)
    baseline = metric_values.flatten(baseline)
    metric_values.check_same_metrics(
        results, baseline, "`results`", "`baseline`"
    )
    _check_values(results, baseline)
    higher = metric_values.directions(higher_is_better, baseline)
    changes = [
        (-1 if higher[k] else 1) * (results[k] - baseline[k]) / abs(baseline[k])
        for k in baseline
    ]
    return 100 * math.fsum(changes) / len(changes)


def _check_values(results, baseline):
    if not baseline:
        raise ValueError(
            f"Expected at least one metric. Received: baseline={baseline}"
        )
    for argument, values in (("results", results), ("baseline", baseline)):
        wrong = {
            metric_values.name(path): value
            for path, value in values.items()
            if not math.isfinite(value)
        }
        if wrong:
            raise ValueError(
                f"Expected `{argument}` to be finite. Received: {wrong}"
            )
    zeros = [
        metric_values.name(path) for path in baseline if not baseline[path]
    ]
    if zeros:
        raise ValueError(
            "Expected no `baseline` value to be zero, since Δm is relative to "
            f"it. Received: zero for {zeros}"
        )
