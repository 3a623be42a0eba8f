"""Checks and prepares the arguments of `benchmark`."""

from collections.abc import Iterable

import keras
import numpy as np

from keras_mtl import weightings as weightings_module
from keras_mtl.model import MultiTaskModel
from keras_mtl.weightings.registry import WEIGHTINGS


def by_label(weightings):
    if isinstance(weightings, (list, tuple)):
        labels = [_label(weighting) for weighting in weightings]
        twice = sorted({x for x in labels if labels.count(x) > 1})
        if twice:
            raise ValueError(
                "Expected different weightings, or a dict of label to "
                f"weighting. Received: more than one {twice}"
            )
        weightings = dict(zip(labels, weightings, strict=True))
    if not isinstance(weightings, dict) or not weightings:
        raise ValueError(
            "Expected `weightings` to be a list or a dict of label to "
            f"weighting, with at least one. Received: weightings={weightings}"
        )
    return {str(label): value for label, value in weightings.items()}


def _label(weighting):
    if isinstance(weighting, str):
        return weighting
    if isinstance(weighting, (list, tuple)):
        return " + ".join(map(_label, weighting))
    kind = type(weightings_module.get(weighting))
    return WEIGHTINGS.name_of(kind) or kind.__name__


def check_seeds(seeds):
    listed = list(seeds) if isinstance(seeds, Iterable) else []
    if (
        not listed
        or not all(isinstance(seed, (int, np.integer)) for seed in listed)
        or len(set(listed)) < len(listed)
    ):
        raise ValueError(
            "Expected `seeds` to be a list of different integers. "
            f"Received: seeds={seeds}"
        )
    return [int(seed) for seed in listed]


def check_training(build, data, epochs, fit_arguments):
    if not callable(build):
        raise ValueError(
            "Expected `build` to be a callable that returns a new "
            f"MultiTaskModel. Received: {build} of type {type(build)}"
        )
    if isinstance(data, tuple) and len(data) not in (2, 3):
        raise ValueError(
            "Expected `data` to be a data set, `(x, y)` or "
            f"`(x, y, sample_weight)`. Received: a tuple of {len(data)}"
        )
    if hasattr(data, "__next__"):
        raise ValueError(
            "Expected `data` that every run can read from its beginning. "
            f"Received: {data} of type {type(data)}"
        )
    if not isinstance(epochs, (int, np.integer)) or epochs < 1:
        raise ValueError(
            f"Expected `epochs` to be at least 1. Received: epochs={epochs}"
        )
    own = {"x", "y", "sample_weight", "weighting"} & set(fit_arguments)
    if own:
        raise ValueError(
            "Expected no arguments of `fit` that `data` and `weightings` "
            f"stand for. Received: {sorted(own)}"
        )


def result_keys(metrics, tasks):
    if metrics is None:
        return [f"{task}_loss" for task in tasks]
    if not isinstance(metrics, dict):
        metrics = as_list(metrics)
        if metrics:
            return metrics
    unknown = [task for task in metrics if task not in tasks]
    if unknown or not metrics:
        raise ValueError(
            "Expected `metrics` to be a list of keys or a dict with the tasks "
            f"{tasks}, and not to be empty. Received: metrics={metrics}"
        )
    return [
        f"{task}_{name}" for task in metrics for name in as_list(metrics[task])
    ]


def build_model(build):
    model = build()
    if not isinstance(model, MultiTaskModel) or model.compiled:
        raise ValueError(
            "Expected `build` to return a new, uncompiled MultiTaskModel at "
            f"each call. Received: {model} of type {type(model)}"
            f"{', compiled' if getattr(model, 'compiled', False) else ''}"
        )
    return model


def compile_model(model, compile, weighting):
    model.compile(**resolve(compile), weighting=anew(weighting))
    return model


def resolve(compile):
    """Returns the arguments of `compile` with an optimizer of their own."""
    arguments = dict(compile() if callable(compile) else compile)
    if "weighting" in arguments:
        raise ValueError(
            "Expected `compile` to have no weighting, since `weightings` has. "
            f"Received: compile={arguments}"
        )
    optimizer = arguments.get("optimizer")
    if isinstance(optimizer, keras.Optimizer):
        arguments["optimizer"] = anew(optimizer)
    elif callable(optimizer):
        arguments["optimizer"] = optimizer()
    return arguments


def anew(value):
    """Copies what has a state, without the state."""
    if isinstance(value, (list, tuple)):
        return [anew(item) for item in value]
    if isinstance(value, (weightings_module.Weighting, keras.Optimizer)):
        return type(value).from_config(value.get_config())
    return value


def evaluate_arguments(data, test_data, fitting):
    """Returns the arguments of `evaluate`."""
    steps = None
    if test_data is None and fitting["validation_data"] is not None:
        test_data = fitting["validation_data"]
        steps = fitting.get("validation_steps")
    elif test_data is None:
        test_data = data
        steps = fitting.get("steps_per_epoch")
    return {
        **as_arguments(test_data),
        "batch_size": fitting["batch_size"],
        "steps": steps,
    }


def as_arguments(data):
    if not isinstance(data, tuple):
        return {"x": data}
    return dict(zip(("x", "y", "sample_weight"), data, strict=False))


def as_list(values):
    if values is None:
        return []
    if isinstance(values, (list, tuple, set, frozenset)):
        return list(values)
    return [values]
