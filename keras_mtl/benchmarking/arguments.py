"""Checks and prepares the arguments of `benchmark`."""

import inspect
import warnings
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_mtl.backend.checks import as_list
from keras_mtl.benchmarking.setting import CompileArgs
from keras_mtl.benchmarking.setting import Setting


def renamed_compile_args(
    compile_args: CompileArgs | None, fit_arguments: dict
) -> CompileArgs:
    """Takes the arguments of `compile` from their old name, too.

    Args:
        compile_args: The argument of `benchmark`.
        fit_arguments: Its other arguments, from which the old name is removed.
    """
    old = fit_arguments.pop("compile", None)
    if old is not None and compile_args is not None:
        raise ValueError(
            "Expected `compile_args` alone, since `compile` is its old name. "
            "Received: both"
        )
    if old is not None:
        warnings.warn(
            "The argument `compile` of `benchmark` is named `compile_args` "
            "now; the old name goes with the next version.",
            DeprecationWarning,
            stacklevel=3,
        )
        compile_args = old
    if not isinstance(compile_args, Mapping) and not callable(compile_args):
        raise ValueError(
            "Expected `compile_args` to be a dict of the arguments of "
            "`MultiTaskModel.compile`, or a callable that returns one. "
            f"Received: compile_args={compile_args}"
        )
    return compile_args


def check_seeds(
    seeds: Iterable[int], settings: Mapping[str, Setting]
) -> list[int]:
    """Returns the seeds; those of the search of a setting are refused."""
    listed = list(seeds) if isinstance(seeds, Iterable) else []
    if (
        not listed
        or not all(isinstance(seed, (int, np.integer)) for seed in listed)
        or min(listed) < 0
        or len(set(listed)) < len(listed)
    ):
        raise ValueError(
            "Expected `seeds` to be a list of different integers, 0 or more. "
            f"Received: seeds={seeds}"
        )
    searched = sorted({x.search_seed for x in settings.values()} & set(listed))
    if searched:
        raise ValueError(
            "Expected other `seeds` than that of the search that found the "
            f"settings, which is {searched[0]}. Received: seeds={seeds}"
        )
    return [int(seed) for seed in listed]


def check_builder(build: Callable) -> None:
    """Raises an error unless `build()` can make a model."""
    try:
        is_builder = callable(build) and not isinstance(build, keras.Model)
        inspect.signature(build).bind()
    except TypeError:
        is_builder = False
    except ValueError:
        # Of some callables the arguments are not known.
        pass
    if not is_builder:
        raise ValueError(
            "Expected `build` to be a function without arguments that returns "
            "a new MultiTaskModel, since each run trains a model of its own. "
            f"Received: {build} of type {type(build)}. Move the lines that "
            "make the model into a function, and give the function:\n\n"
            "    def build():\n"
            "        inputs = keras.Input(...)\n"
            "        ...\n"
            "        return keras_mtl.MultiTaskModel(inputs, outputs)\n\n"
            "    keras_mtl.benchmark(build, ...)"
        )


def check_training(
    build: Callable, data: Any, epochs: int, fit_arguments: Mapping[str, Any]
) -> None:
    check_builder(build)
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


def result_keys(metrics: Any, tasks: Sequence[str]) -> list[str]:
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


def evaluate_arguments(
    data: Any, test_data: Any, fitting: Mapping[str, Any]
) -> dict[str, Any]:
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


def as_arguments(data: Any) -> dict[str, Any]:
    if not isinstance(data, tuple):
        return {"x": data}
    return dict(zip(("x", "y", "sample_weight"), data, strict=False))
