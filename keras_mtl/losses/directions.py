"""Which results `evaluate` returns, and whether more of one is better."""

import difflib
import inspect
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras

from keras_mtl.backend.checks import as_list
from keras_mtl.losses.present_label_metrics import PresentLabelMetrics
from keras_mtl.metrics.task_means import TaskMeans

# Keras's metrics, and so the classes that derive from them.
HIGHER_IS_BETTER = {
    "AUC",
    "Accuracy",
    "BinaryAccuracy",
    "BinaryIoU",
    "CategoricalAccuracy",
    "ConcordanceCorrelation",
    "CosineSimilarity",
    "F1Score",
    "FBetaScore",
    "IoU",
    "MeanIoU",
    "OneHotIoU",
    "OneHotMeanIoU",
    "PearsonCorrelation",
    "Precision",
    "PrecisionAtRecall",
    "R2Score",
    "Recall",
    "RecallAtPrecision",
    "SensitivityAtSpecificity",
    "SparseCategoricalAccuracy",
    "SparseTopKCategoricalAccuracy",
    "SpecificityAtSensitivity",
    "TopKCategoricalAccuracy",
    "TrueNegatives",
    "TruePositives",
}
LOWER_IS_BETTER = {
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalHinge",
    "FalseNegatives",
    "FalsePositives",
    "Hinge",
    "KLDivergence",
    "LogCoshError",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Poisson",
    "RootMeanSquaredError",
    "SparseCategoricalCrossentropy",
    "SquaredHinge",
}
# What may make a result that the model does not tell of before it is there.
OWN_RESULTS = (
    "compute_metrics",
    "evaluate",
    "get_metrics_result",
    "test_step",
    "train_step",
)


def results_of(model: Any) -> dict[str, bool | None]:
    """Returns the results that `evaluate` is going to return.

    Args:
        model: Compiled `MultiTaskModel`.

    Returns:
        Dict of key to whether a higher value is better, `None` where that is
        not known.
    """
    results: dict[str, bool | None] = {"loss": False}
    for metric in model.metrics:
        if isinstance(metric, TaskMeans):
            results |= dict.fromkeys(metric.keys, False)
        elif isinstance(metric, PresentLabelMetrics):
            outputs = dict(zip(model.output_keys, model.outputs, strict=True))
            by_key = metric.by_key(outputs)
            results |= {x: is_higher_better(by_key[x]) for x in by_key}
        else:
            results.setdefault(metric.name, is_higher_better(metric))
    return {x: y for x, y in results.items() if not x.startswith("weight/")}


def is_higher_better(metric: keras.metrics.Metric) -> bool | None:
    """Returns whether a higher value of a metric is better, if it is known.

    A metric may tell it itself, by an attribute `higher_is_better`.
    """
    told = getattr(metric, "higher_is_better", None)
    if told is not None:
        return bool(told)
    for base in type(metric).__mro__:
        if base.__module__.startswith("keras."):
            if base.__name__ in HIGHER_IS_BETTER:
                return True
            if base.__name__ in LOWER_IS_BETTER:
                return False
    if isinstance(metric, keras.metrics.MeanMetricWrapper):
        return _is_higher_better_of_function(metric._fn)
    return None


def _is_higher_better_of_function(function: Any) -> bool | None:
    if isinstance(function, keras.losses.Loss):
        return False
    for module in (keras.losses, keras.metrics):
        for name, known in inspect.getmembers(module, inspect.isfunction):
            if known is function:
                return name.endswith("accuracy")
    return None


def check_keys(
    keys: Sequence[str], model: Any, argument: str = "metrics"
) -> None:
    """Raises an error for a key that `evaluate` is not going to return."""
    if any(model._overrides(name) for name in OWN_RESULTS):
        return
    known = list(results_of(model))
    unknown = [key for key in keys if key not in known]
    if unknown:
        near = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f". Did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"Expected `{argument}` to choose from what `evaluate` returns, "
            f"which is {known}. Received: {unknown}{hint}"
        )


def higher_keys(
    given: Sequence[str] | Mapping[str, bool] | None,
    keys: Sequence[str],
    model: Any,
) -> list[str]:
    """Returns the keys for which a higher value is better.

    Args:
        given: As of `benchmark`.
        keys: The results that are compared.
        model: Compiled `MultiTaskModel`.

    Raises:
        ValueError: If that is neither given nor known.
    """
    _check_given(given, keys)
    known = results_of(model)
    if isinstance(given, Mapping):
        known |= given
    elif given is not None:
        known = {key: bool(known.get(key)) for key in keys}
        known |= dict.fromkeys(as_list(given), True)
    unknown = [key for key in keys if known.get(key) is None]
    if unknown:
        raise ValueError(
            "Expected `higher_is_better` to say whether a higher value is "
            f"better for {unknown}, since only Keras's own metrics tell. Type "
            f"higher_is_better={dict.fromkeys(unknown, True)}, with False in "
            "the place of True where a lower value is better. Received: "
            f"higher_is_better={given!r}"
        )
    return [key for key in keys if known[key]]


def _check_given(
    given: Sequence[str] | Mapping[str, bool] | None, keys: Sequence[str]
) -> None:
    unknown = [key for key in as_list(given) if key not in keys]
    if unknown:
        raise ValueError(
            "Expected `higher_is_better` to have keys of the results, which "
            f"are {list(keys)}. Received: {unknown}"
        )
    flags = given if isinstance(given, Mapping) else {}
    wrong = {key: x for key, x in flags.items() if not isinstance(x, bool)}
    if wrong:
        raise ValueError(
            "Expected `higher_is_better` to be a list of keys, or a dict of "
            f"key to True or False. Received: {wrong}"
        )
