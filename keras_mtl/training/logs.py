"""The logs of steps and epochs."""


class StepLogs(dict):
    """The logs of a step with one task, which lack those of other tasks."""


def without_weights(logs):
    """Returns logs without the tasks' weights, which are of training alone."""
    return {k: v for k, v in logs.items() if not is_weight(k)}


def is_weight(name):
    """Whether a log is the weight of a task."""
    return name.startswith("weight/")


def in_order(logs, tasks, metrics_names):
    """Lists logs as plain Keras does, where each loss is a metric of its own.

    The weights of the tasks, which plain Keras has not, come last.

    Args:
        logs: Dict of name to value.
        tasks: List of the names of the tasks, in the order of the outputs.
        metrics_names: The names of the model's metrics.
    """
    names = ["loss", *(f"{task}_loss" for task in tasks), *metrics_names]
    names += sorted(logs)
    names = [name for name in dict.fromkeys(names) if name in logs]
    return [logs[name] for name in sorted(names, key=is_weight)]
