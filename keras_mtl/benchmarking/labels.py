"""What the weightings of a benchmark are called."""

import re
from collections.abc import Iterable
from typing import Any

from keras_mtl import weightings as weightings_module
from keras_mtl.weightings.registry import WEIGHTINGS


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
