from collections.abc import Callable
from typing import Any

import keras

from keras_mtl.backend import checks
from keras_mtl.callbacks.arguments import check_model
from keras_mtl.callbacks.task_logs import by_task
from keras_mtl.training.short_texts import short_names
from keras_mtl.training.short_texts import short_number

# A loss that changes by less, relative to itself, has no trend.
STEADY = 0.01


class TaskReport(keras.callbacks.Callback):
    """Prints a table of the tasks at the end of an epoch.

    For each task it has the loss, that on the validation data, if there are
    any, the mean weight of the epoch (with a `TaskSampler` the share of the
    steps), the metrics, and the trend: ↓ if the loss fell by more than 1 %
    since the last report, ↑ if it rose, → if neither. The trend and the metrics
    are those on the validation data where there are any.

    Example:

    >>> inputs = keras.Input((2,))
    >>> features = keras.layers.Dense(2)(inputs)
    >>> outputs = {t: keras.layers.Dense(1)(features) for t in ("seg", "depth")}
    >>> model = keras_mtl.MultiTaskModel(inputs, outputs)
    >>> model.compile("sgd", "mse", weighting="dwa", run_eagerly=True)
    >>> texts = []
    >>> report = keras_mtl.callbacks.TaskReport(print_fn=texts.append)
    >>> y = {"seg": np.zeros((4, 1)), "depth": np.ones((4, 1))}
    >>> history = model.fit(np.ones((4, 2)), y, callbacks=[report], verbose=0)
    >>> " ".join(texts[0].splitlines()[1].split())
    'task loss weight'

    Args:
        every: Number of epochs from one report to the next.
        print_fn: Function of a text, by default `print`.

    Raises:
        ValueError: If `every` is no positive integer, or, when training begins,
            if the model balances no tasks.
    """

    # The progress bar of `fit` ends its line before this one prints.
    is_after_progress = True

    def __init__(
        self, every: int = 1, print_fn: Callable[[str], Any] | None = None
    ) -> None:
        super().__init__()
        self.every = checks.positive_integer("every", every)
        self.print_fn = print_fn
        self._last: dict[tuple[str, str], float] = {}

    def on_train_begin(self, logs: Any = None) -> None:
        check_model(self, self.model)
        self._last = {}

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if (epoch + 1) % self.every:
            return
        tasks, others = by_task(logs or {}, self.model.tasks)
        print_fn = print if self.print_fn is None else self.print_fn
        print_fn("\n".join([_title(epoch, others), *self._table(tasks)]))

    def _table(self, tasks):
        names = short_names(list(tasks), 24)
        has_validation = any("val_loss" in own for own in tasks.values())
        known = {name for own in tasks.values() for name in own}
        columns = ["loss", "val_loss", "weight", "share"]
        columns = [name for name in columns if name in known]
        titles = [name.replace("_", " ") for name in columns]
        has_metrics = known - set(columns)
        rows = [["task", *titles, "", "metrics" if has_metrics else ""]]
        for task, own in tasks.items():
            numbers = [
                short_number(own[name]) if name in own else "-"
                for name in columns
            ]
            trend = self._trend(task, own)
            metrics = _metrics(own, columns, has_validation)
            rows.append([names[task], *numbers, trend, metrics])
        return _aligned(rows)

    def _trend(self, task, logs):
        name = "val_loss" if "val_loss" in logs else "loss"
        loss, last = logs.get(name), self._last.get((task, name))
        if loss is None or loss != loss:  # A task without a step has NaN.
            return ""
        self._last[task, name] = loss
        if last is None:
            return ""
        if abs(loss - last) <= STEADY * abs(last):
            return "→"
        return "↓" if loss < last else "↑"


def _title(epoch, logs):
    names = [name for name in ("loss", "val_loss") if name in logs]
    texts = [
        f"{name.replace('_', ' ')} {short_number(logs[name])}" for name in names
    ]
    return f"Epoch {epoch + 1}: {', '.join(texts)}"


def _metrics(logs, columns, has_validation):
    """Returns the metrics of a task as a text."""
    texts = []
    for name, value in logs.items():
        validates = name.startswith("val_")
        hidden = validates or has_validation and f"val_{name}" in logs
        if name in columns or hidden and not validates:
            continue
        texts.append(f"{name.removeprefix('val_')} {short_number(value)}")
    return " ".join(texts)


def _aligned(rows):
    """Returns the lines of a table, whose first and last columns are texts."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = []
    for first, *middle, last in rows:
        cells = [first.ljust(widths[0])]
        cells += [x.rjust(w) for x, w in zip(middle, widths[1:])]
        lines.append("  ".join([*cells, last]).rstrip())
    return lines
