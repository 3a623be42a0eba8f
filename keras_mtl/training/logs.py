"""The logs of steps and epochs."""


class StepLogs(dict):
    """The logs of a step with one task, which lack those of other tasks."""


def without_weights(logs):
    """Returns logs without the tasks' weights, which are of training alone."""
    return {k: v for k, v in logs.items() if not k.startswith("weight/")}


def in_order(logs, tasks, metrics_names):
    """Lists logs as plain Keras does, where each loss is a metric of its own.

    Args:
        logs: Dict of name to value.
        tasks: List of the names of the tasks, in the order of the outputs.
        metrics_names: The names of the model's metrics.
    """
    names = ["loss", *(f"{task}_loss" for task in tasks), *metrics_names]
    names = [name for name in dict.fromkeys(names) if name in logs]
    rest = sorted(name for name in logs if name not in names)
    return [logs[name] for name in names + rest]
