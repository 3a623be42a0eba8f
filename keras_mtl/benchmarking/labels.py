"""What the weightings of a benchmark are called."""

import dataclasses
import math
import numbers
import re
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

from keras_mtl import weightings as weightings_module
from keras_mtl.benchmarking.setting import Setting
from keras_mtl.weightings.registry import WEIGHTINGS

# What stands for fixed weights that `keras_mtl.tune` is to find.
TUNED = "tuned"


def by_label(weightings: Any) -> dict[str, Any]:
    """Returns the weightings by label: the names of methods, or the user's."""
    if isinstance(weightings, (list, tuple)):
        labels = [_label(weighting) for weighting in weightings]
        check_different(labels)
        weightings = dict(zip(labels, weightings, strict=True))
    if not isinstance(weightings, dict) or not weightings:
        raise ValueError(
            "Expected `weightings` to be a list or a dict of label to "
            f"weighting, with at least one. Received: weightings={weightings}"
        )
    return {str(label): value for label, value in weightings.items()}


def settings_by_label(
    weightings: Any, equal_cost: Mapping[str, float] | None, epochs: int
) -> dict[str, Setting]:
    """Returns the settings of `benchmark` by label.

    Args:
        weightings: As of `benchmark`.
        equal_cost: As of `benchmark`.
        epochs: As of `benchmark`.
    """
    settings = {x: Setting.of(y) for x, y in by_label(weightings).items()}
    if any(is_tuned(setting.weighting) for setting in settings.values()):
        raise ValueError(
            f'"{TUNED}" stands for fixed weights that a search finds. Type '
            "search = keras_mtl.tune(...), then weightings=search.best. "
            f"Received: weightings={weightings}"
        )
    return settings | _at_equal_cost(settings, equal_cost or {}, epochs)


def is_tuned(weighting: Any) -> bool:
    return isinstance(weighting, str) and weighting == TUNED


def _at_equal_cost(
    settings: Mapping[str, Setting], times: Mapping[str, float], epochs: int
) -> dict[str, Setting]:
    """Returns settings of as many epochs as take the time of equal weighting.

    Where that is the number of epochs they have, there is none.
    """
    rows = {}
    for name, time in times.items():
        label = among(name, settings)
        is_time = isinstance(time, numbers.Real) and 0 < time < math.inf
        if label not in settings or not is_time:
            raise ValueError(
                "Expected `equal_cost` to be a dict of label to relative time. "
                f"The labels are {list(settings)}. Received: {name!r}: {time}"
            )
        setting = settings[label]
        own = setting.epochs or epochs
        fewer = max(1, round(own / time))
        if fewer != own:
            row = dataclasses.replace(setting, epochs=fewer)
            rows[f"{label}, equal cost"] = row
    return rows


def check_different(labels: Iterable[str]) -> None:
    """Raises an error if a label is there twice."""
    labels = list(labels)
    twice = sorted({x for x in labels if labels.count(x) > 1})
    if twice:
        raise ValueError(
            "Expected different weightings, or a dict of label to "
            f'weighting, such as {{"first": {twice[0]!r}, "second": ...}}. '
            f"Received: more than one {twice}"
        )


def _label(weighting: Any) -> str:
    if isinstance(weighting, Setting):
        return _label(weighting.weighting)
    if is_tuned(weighting):
        return TUNED
    if isinstance(weighting, (list, tuple)):
        return " + ".join(map(_label, weighting))
    if isinstance(weighting, str):
        kind = WEIGHTINGS.get_class(weighting)
    else:
        kind = type(weightings_module.get(weighting))
    return WEIGHTINGS.name_of(kind) or kind.__name__


def canonical(label: str) -> str:
    """Returns a label with the names of methods as `names()` has them.

    What is no method stays as it is.

    Example:

    >>> canonical("IGBv1 + nash-mtl"), canonical("mine")
    ('igb_v1 + nash_mtl', 'mine')
    """
    parts = re.split(r"(\s*\+\s*)", label)
    return "".join(
        _label(part) if WEIGHTINGS.knows(part) else part for part in parts
    )


def among(label: Any, labels: Iterable[str]) -> Any:
    """Returns that one of the labels which a user means, else `label`."""
    if not isinstance(label, str) or label in labels:
        return label
    name = canonical(label)
    return name if name in labels else label
