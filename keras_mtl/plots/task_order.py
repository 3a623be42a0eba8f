"""The order of the tasks, which gives each its colour in all figures."""

import math
import re
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

import keras

from keras_mtl.plots.axes import NUM_LOOKS


def order_tasks(
    names: Iterable[str], declared: Sequence[str], tasks: Sequence[str] | None
) -> list[str]:
    """Returns all tasks in their order, each with its place for its colour.

    Args:
        names: The tasks that are drawn. Keras sorts the entries of a history by
            the alphabet: where `names` are sorted so, they are brought into
            their natural order, `class2` before `class10`.
        declared: The tasks in the order of the `loss` dict, where it is known.
        tasks: The order that the user gave, or `None`.
    """
    names = list(dict.fromkeys(names))
    if tasks is not None:
        missing = [name for name in names if name not in tasks]
        if missing or isinstance(tasks, str):
            raise ValueError(
                "Expected `tasks` to be the names of all tasks in their order. "
                f"Received: tasks={tasks}, without {missing}"
            )
        return list(dict.fromkeys(tasks))
    if names == sorted(names):
        names.sort(key=natural_key)
    return list(dict.fromkeys([*declared, *names]))


def natural_key(name: str) -> list[tuple[bool, int, str]]:
    """Sorts `class2` before `class10`."""
    parts = re.findall(r"\d+|\D+", name)
    return [
        (x.isdecimal(), int(x) if x.isdecimal() else 0, x.casefold())
        for x in parts
    ]


def declared_tasks(history: Any, names: Sequence[str]) -> list[str]:
    """Returns the tasks in the order of the `loss` dict, where it is known.

    Args:
        history: A `History`, whose model knows it; a `BenchmarkResult`, whose
            metrics have it; or a dict of title to histories.
        names: The tasks that are drawn.
    """
    if isinstance(history, keras.callbacks.History):
        return list(getattr(history.model, "tasks", ()))
    if hasattr(history, "histories"):
        owners = [_task_of(key, names) for key in history.keys]
        return [name for name in owners if name is not None]
    if isinstance(history, dict):
        return [
            task
            for single in history.values()
            for task in declared_tasks(single, names)
        ]
    return []


def _task_of(key: str, names: Sequence[str]) -> str | None:
    """Returns the task of a metric: `u0_mae` is of `u0`, not of `u`."""
    owners = [name for name in names if key.startswith(f"{name}_")]
    return max(owners, key=len, default=None)


def choose_highlights(
    scores: Sequence[Sequence[float]],
    tasks: Sequence[str],
    highlight: Sequence[str] | None,
) -> list[str]:
    """Returns the tasks that have a colour; the others are grey.

    Args:
        scores: For each panel, one number a task, NaN where there is none.
        tasks: The tasks.
        highlight: Those that the user chose, or `None`: all, if there are few
            enough to tell their lines apart, else the three with the largest
            and the three with the smallest scores.
    """
    if highlight is not None:
        unknown = [name for name in highlight if name not in tasks]
        if unknown or isinstance(highlight, str):
            raise ValueError(
                f"Expected `highlight` to be a list of tasks, of {list(tasks)}."
                f" Received: highlight={highlight}"
            )
        return [task for task in tasks if task in highlight]
    if len(tasks) <= NUM_LOOKS:
        return list(tasks)
    ranks = [_ranks(panel) for panel in scores]
    means = [sum(column) / len(column) for column in zip(*ranks, strict=True)]
    order = sorted(range(len(tasks)), key=lambda i: means[i])
    extremes = {*order[:3], *order[-3:]}
    return [task for i, task in enumerate(tasks) if i in extremes]


def _ranks(scores: Sequence[float]) -> list[int]:
    # What is not finite is as extreme as can be.
    scores = [x if math.isfinite(x) else math.inf for x in scores]
    return [sum(other < score for other in scores) for score in scores]
