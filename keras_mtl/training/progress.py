"""The progress bar of `fit`, in which the losses of all tasks have a place."""

import math
import shutil
import sys
import time

import keras

from keras_mtl.backend.keras_internals import print_message
from keras_mtl.training.logs import is_weight
from keras_mtl.training.short_texts import losses_in
from keras_mtl.training.short_texts import short_names
from keras_mtl.training.short_texts import short_number

# Characters of the bar itself, and seconds from one drawing to the next.
BAR = 10
INTERVAL = 0.05

# What the names of the training's and the validation's logs begin with.
_SETS = ("", "val_")


def with_progress(callbacks, tasks, verbose):
    """Returns callbacks with the progress bar, where one is asked for.

    Args:
        callbacks: List of callbacks, or a `CallbackList` of the user's own,
            which is left as it is.
        tasks: List of the names of the tasks.
        verbose: As of `fit`.
    """
    if not verbose or isinstance(callbacks, keras.callbacks.CallbackList):
        return callbacks
    known = keras.tree.flatten(callbacks)
    if any(isinstance(x, keras.callbacks.ProgbarLogger) for x in known):
        return callbacks
    # What prints at the end of an epoch waits for the last line of the bar.
    later = [x for x in callbacks if getattr(x, "is_after_progress", False)]
    others = [x for x in callbacks if x not in later]
    return [*others, TaskProgress(tasks), *later]


class TaskProgress(keras.callbacks.ProgbarLogger):
    """Shows what Keras's own bar shows in one line, whatever `T` is.

    During an epoch it has the sum of the losses and those of the tasks (the
    largest and the smallest, if not all fit), at its end those on the
    validation data, if there are any, and the metrics if they fit. The logs and
    the history are as ever.

    Keras knows it as its bar by its class, and adds no other one.

    Args:
        tasks: List of the names of the tasks.
    """

    # It reads the logs alone: steps may run ahead of it, as of Keras's bar.
    async_safe = True

    def __init__(self, tasks):
        super().__init__()
        self._names = short_names(tasks)

    def on_train_begin(self, logs=None):
        pass

    def on_test_begin(self, logs=None):
        pass

    def on_test_batch_end(self, batch, logs=None):
        pass

    def on_test_end(self, logs=None):
        pass

    def on_epoch_begin(self, epoch, logs=None):
        self.seen = 0
        # With a `TaskSampler`, a step has the logs of its task alone.
        self._logs = {}
        self._begin = time.time()
        self._after_first = None
        self._drawn = 0.0
        self._last_width = 0
        if self.verbose and self.epochs > 1:
            print_message(f"Epoch {epoch + 1}/{self.epochs}\n")

    def on_train_batch_end(self, batch, logs=None):
        if batch < self.seen:
            return  # Threads may bring the logs of an earlier step later.
        self.seen = batch + 1
        now = time.time()
        if self._after_first is None:
            # What the first step compiles says nothing of the others.
            self._after_first = now, self.seen
        if self.verbose != 1:
            return
        self._logs.update(logs or {})
        if now - self._drawn >= INTERVAL:
            self._draw(now, self._logs, is_last=False)
            self._drawn = now

    def on_epoch_end(self, epoch, logs=None):
        if self.target is None:
            self.target = self.seen
        self._draw(time.time(), logs or {}, is_last=True)

    def _draw(self, now, logs, is_last):
        head = self._head(now, is_last)
        columns = shutil.get_terminal_size().columns - 1
        if self.verbose != 1:
            # One line an epoch, often in a file: it may take several rows.
            columns *= 4
        text = self._text(columns, len(head) + 3, logs, is_last)
        line = f"{head} - {text}"
        if self.verbose != 1:
            print_message(f"{line}\n")
            return
        padding = " " * (self._last_width - len(line))
        self._last_width = len(line)
        end = "\n" if is_last else ""
        print_message(f"\r{_colored(line)}{padding}{end}")

    def _head(self, now, is_last):
        """Returns the count, the bar and the times."""
        per_step = self._seconds_per_step(now)
        seconds = now - self._begin
        if self.target:
            count = f"{self.seen:{len(str(self.target))}d}/{self.target}"
            done = min(BAR, BAR * self.seen // self.target)
            bar = "━" * done + "╌" * (BAR - done)
            if not is_last:
                seconds = per_step * (self.target - self.seen)
        else:
            count, bar = f"{self.seen}/Unknown", ""
        times = [_duration(seconds), _per_step(per_step)]
        if self.verbose == 1:
            return " ".join(filter(None, [count, bar, *times]))
        return " - ".join([count, *times])

    def _seconds_per_step(self, now):
        if self._after_first is None:
            return 0.0
        since, steps = self._after_first
        if self.seen > steps:
            return (now - since) / (self.seen - steps)
        return (now - self._begin) / steps

    def _text(self, columns, used, logs, is_last):
        """Returns the losses and metrics that fit beside the head."""
        prefix = "val_" if "val_loss" in logs else ""
        losses = {
            short: logs[f"{prefix}{task}_loss"]
            for task, short in self._names.items()
            if f"{prefix}{task}_loss" in logs
        }
        parts = []
        if prefix and "loss" in logs:
            parts.append(f"loss {short_number(logs['loss'])}")
            used += len(parts[0]) + 3
        if f"{prefix}loss" in logs:
            # The last line of an epoch is not drawn over: it may be longer.
            width = max(columns - used, 40 if is_last else 24)
            title = "val" if prefix else "loss"
            total = logs[f"{prefix}loss"]
            parts.append(losses_in(width, title, total, losses))
            used += len(parts[-1])
        limit = 2 * columns if is_last else columns
        for names in self._metrics(logs, prefix):
            texts = [f"{name} {short_number(logs[name])}" for name in names]
            used += sum(3 + len(text) for text in texts)
            parts += texts if used <= limit else []
        return " - ".join(parts)

    def _metrics(self, logs, prefix):
        """Returns the names of other logs, and those of tasks' metrics.

        Of the latter, all are shown or none.
        """
        hidden = {"loss", "task_variance"}
        hidden |= {f"{task}_loss" for task in self._names}
        hidden |= {f"val_{name}" for name in hidden}
        names = [
            name
            for name, value in logs.items()
            if name not in hidden
            and not is_weight(name)
            and not name.startswith("share/")
            and _is_number(value)
        ]
        if prefix:
            # Those on the training data are left out where there are others.
            names = [name for name in names if f"val_{name}" not in names]
        starts = tuple(f"{x}{task}_" for task in self._names for x in _SETS)
        of_tasks = [name for name in names if name.startswith(starts)]
        return [x for x in names if x not in of_tasks], of_tasks


def _is_number(value):
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _duration(seconds):
    if seconds < 60:
        return f"{seconds:.0f}s"
    minutes, seconds = divmod(math.floor(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02d}:{seconds:02d}"
    return f"{minutes}:{seconds:02d}"


def _per_step(seconds):
    if seconds >= 1 or seconds == 0:
        return f"{seconds:.0f}s/step"
    if seconds >= 1e-3:
        return f"{seconds * 1e3:.0f}ms/step"
    return f"{seconds * 1e6:.0f}us/step"


def _colored(line):
    """Returns a line whose bar is green, where escape codes are understood."""
    if not (sys.stdout.isatty() or "ipykernel" in sys.modules):
        return line
    bar, rest = line.count("━"), line.count("╌")
    if not bar + rest:
        return line
    plain = "━" * bar + "╌" * rest
    return line.replace(plain, f"\33[32m{'━' * bar}\33[37m{'━' * rest}\33[0m")
