"""Nested results of several tasks as one flat list of named values."""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

# A value, an array, a list, or a (nested) dict of them.
Results = Any
# What `directions` takes.
Directions = Any
# The dict keys and array indices that lead to a value.
MetricPath = tuple


def flatten(values: Results) -> dict[MetricPath, Any]:
    """Flattens results to one value per metric.

    Args:
        values: Value, array, list, or a (nested) dict of them.

    Returns:
        Dict of path to value. A path is the tuple of the dict keys and array
        indices that lead to the value.
    """
    items: Iterable[tuple[Any, Any]]
    if isinstance(values, dict):
        items = values.items()
    elif isinstance(values, (list, tuple)):
        items = enumerate(values)
    else:
        if ops.is_tensor(values):
            values = ops.convert_to_numpy(values)
        values = np.asarray(values)
        if values.ndim == 0:
            return {(): values.item()}
        items = enumerate(values)
    return {
        (key, *path): leaf
        for key, value in items
        for path, leaf in flatten(value).items()
    }


def name(path: MetricPath) -> str:
    """Returns the name of a metric for messages, such as `"seg/miou"`."""
    return "/".join(map(str, path))


def check_same_metrics(
    values: Mapping[MetricPath, Any],
    reference: Mapping[MetricPath, Any],
    what: str,
    reference_what: str,
) -> None:
    """Raises an error unless `values` has the metrics of `reference`."""
    missing = [name(path) for path in reference if path not in values]
    unknown = [name(path) for path in values if path not in reference]
    if missing or unknown:
        raise ValueError(
            f"Expected {what} to have the same metrics as {reference_what}. "
            f"Received: missing {missing}, not in {reference_what} {unknown}"
        )


def directions(
    higher_is_better: Directions, paths: Sequence[MetricPath]
) -> dict[MetricPath, bool]:
    """Returns for each metric whether a higher value is better.

    Args:
        higher_is_better: `None` (lower is better throughout), a boolean for
            all metrics, the names of tasks or metrics for which higher is
            better, or booleans in the structure of the results.
        paths: Paths of the metrics.

    Returns:
        Dict of path to boolean.
    """
    if higher_is_better is None or isinstance(higher_is_better, bool):
        return dict.fromkeys(paths, bool(higher_is_better))
    if isinstance(higher_is_better, str):
        higher_is_better = [higher_is_better]
    if _is_names(higher_is_better):
        return _named_directions(higher_is_better, paths)
    flags = flatten(higher_is_better)
    _check_flags(flags, paths)
    # A flag holds for all the metrics below its own path.
    return {
        path: any(flags.get(path[:n], False) for n in range(len(path) + 1))
        for path in paths
    }


def _is_names(value):
    return isinstance(value, (list, tuple, set, frozenset)) and all(
        isinstance(item, str) for item in value
    )


def _named_directions(names, paths):
    known = {str(key) for path in paths for key in path}
    known.update(map(name, paths))
    unknown = sorted(set(names) - known)
    if unknown:
        raise ValueError(
            "Expected `higher_is_better` to name tasks or metrics of "
            f"{sorted(known)}. Received: {unknown}"
        )
    return {
        path: name(path) in names or any(str(key) in names for key in path)
        for path in paths
    }


def _check_flags(flags, paths):
    prefixes = {path[:n] for path in paths for n in range(len(path) + 1)}
    wrong = {
        name(path): flag
        for path, flag in flags.items()
        if path not in prefixes or flag not in (True, False)
    }
    if wrong:
        raise ValueError(
            "Expected `higher_is_better` to hold booleans in the structure of "
            f"the results. Received: {wrong}"
        )
