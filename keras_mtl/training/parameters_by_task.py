"""How many parameters tasks share, and how many each has for itself."""

import collections
import math

# The number of parameters of a part of the model.
Row = collections.namedtuple("Row", ["part", "trained", "not_trained"])

SHARED, OF_NO_TASK, TOTAL = "shared", "(no task)", "(total)"


def parameters_by_task(split, weights):
    """Counts the parameters of each part of a model.

    Args:
        split: `GraphSplit` of the model.
        weights: List of the weights of the model.

    Returns:
        List of `Row`: what two or more tasks reach, what each task reaches
        alone, what no task reaches if there is any, and all.
    """
    tasks_of = _tasks_by_weight(split)
    trained = {id(v) for v in split.variables}
    counts = collections.defaultdict(lambda: [0, 0])
    for v in weights:
        part = _part(tasks_of[id(v)])
        for key in (part, TOTAL):
            counts[key][id(v) not in trained] += math.prod(v.shape)
    parts = [SHARED, *[(task,) for task in split.tasks]]
    parts += [OF_NO_TASK] * (OF_NO_TASK in counts)
    return [
        Row(part[0] if isinstance(part, tuple) else part, *counts[part])
        for part in [*parts, TOTAL]
    ]


def _part(tasks):
    """Returns the key of a part: a task's is a tuple, whatever its name."""
    if len(tasks) > 1:
        return SHARED
    return tuple(tasks) if tasks else OF_NO_TASK


def _tasks_by_weight(split):
    """Returns a dict of the id of a weight to the tasks that reach it."""
    tasks_of = collections.defaultdict(set)
    for task in split.tasks:
        for v in split.head_variables[task]:
            tasks_of[id(v)].add(task)
    for v in split.shared_variables:
        tasks_of[id(v)] |= {*split.tasks}
    trained = {id(v) for v in split.variables}
    for step in split.steps:
        for v in getattr(step.operation, "weights", []):
            if id(v) not in trained:
                tasks_of[id(v)] |= step.tasks
    return tasks_of


def table_of_parameters(rows):
    """Returns a table of `Row`s as text."""
    cells = [("parameters", "trained", "not trained")]
    cells += [(r.part, f"{r.trained:,}", f"{r.not_trained:,}") for r in rows]
    widths = [max(map(len, column)) for column in zip(*cells)]
    return "\n".join(
        f"{part:<{widths[0]}}  {trained:>{widths[1]}}  {other:>{widths[2]}}"
        for part, trained, other in cells
    )
