"""The logs of an epoch, sorted by task."""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

# What stands for a task in its logs: the weight, or its share of the steps.
OF_TASK = ("weight", "share")


def by_task(
    logs: Mapping[str, Any], tasks: Sequence[str]
) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """Sorts the logs of an epoch by task.

    Args:
        logs: Dict of name to value, as callbacks get it.
        tasks: List of the names of the tasks.

    Returns:
        Dict of task to a dict of its logs, whose names lack that of the task,
        and a dict of the other logs.

    Example:

    >>> logs = {"loss": 3.0, "a_loss": 1.0, "val_a_mae": 0.5, "weight/a": 2.0}
    >>> by_task(logs, ["a"])
    ({'a': {'loss': 1.0, 'val_mae': 0.5, 'weight': 2.0}}, {'loss': 3.0})
    """
    sorted_logs: dict[str, dict[str, float]] = {task: {} for task in tasks}
    others = {}
    # A task may begin as another one is named: the longest name is meant.
    longest_first = sorted(tasks, key=len, reverse=True)
    for name, value in logs.items():
        task, own = _split(name, longest_first)
        if task is None:
            others[name] = value
        else:
            sorted_logs[task][own] = value
    return sorted_logs, others


def _split(name, tasks):
    kind, _, task = name.partition("/")
    if kind in OF_TASK and task in tasks:
        return task, kind
    prefix = "val_" if name.startswith("val_") else ""
    plain = name.removeprefix(prefix)
    for task in tasks:
        if plain.startswith(f"{task}_"):
            return task, prefix + plain[len(task) + 1 :]
    return None, name
