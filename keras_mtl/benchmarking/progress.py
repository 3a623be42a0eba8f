"""What shows the progress of a benchmark."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_mtl.benchmarking.time_left import TimeLeft


class Progress:
    """Shows nothing; the base of what shows the progress.

    Args:
        runs: The seed and label of each run, those that are done first.
        epochs: Number of epochs of each run.
        time_left: Of these runs.
    """

    def __init__(
        self,
        runs: Sequence[tuple[int, str]],
        epochs: int,
        time_left: TimeLeft,
    ) -> None:
        self.runs = len(runs)
        self.epochs = epochs
        self.time_left = time_left

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: Any) -> None:
        pass

    def start(
        self, label: str, seed: int, epochs: int | None = None
    ) -> keras.callbacks.Callback:
        """Returns the callback of the next run.

        Args:
            label: Label of its weighting.
            seed: Its seed.
            epochs: Its number of epochs, where that is its own.
        """
        self.time_left.start()
        self.own_epochs = epochs or self.epochs
        number = self.time_left.done + 1
        self.title = f"[{number}/{self.runs}] {label}, seed {seed}"
        return keras.callbacks.LambdaCallback(on_epoch_end=self.show_epoch)

    def show_epoch(self, epoch: int, logs: dict[str, Any]) -> None:
        pass

    def end(self, record: dict[str, Any]) -> None:
        self.time_left.end()


class ProgressLines(Progress):
    """Prints one line a run."""

    def end(self, record: dict[str, Any]) -> None:
        super().end(record)
        loss = record["history"]["loss"][-1]
        left = str(self.time_left)
        print(
            f"{self.title}: {record['epochs']} epochs, loss {loss:.4g}, "
            f"{record['seconds']:.1f} s" + (f"; {left}" if left else ""),
            flush=True,
        )


class ProgressBar(Progress):
    """Shows rich's bar over the epochs of all runs."""

    def __enter__(self) -> "Progress":
        from rich import progress

        self._bar = progress.Progress(
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(bar_width=10),
            progress.TextColumn("{task.fields[state]}"),
        )
        total = self.runs * self.epochs
        done = self.time_left.done * self.epochs
        self._task = self._bar.add_task(
            "", total=total, completed=done, state=""
        )
        self._bar.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._bar.stop()

    def start(
        self, label: str, seed: int, epochs: int | None = None
    ) -> keras.callbacks.Callback:
        callback = super().start(label, seed, epochs)
        state = str(self.time_left)
        self._bar.update(self._task, description=self.title, state=state)
        return callback

    def show_epoch(self, epoch: int, logs: dict[str, Any]) -> None:
        self.time_left.show((epoch + 1) / self.own_epochs)
        state = f"epoch {epoch + 1}/{self.own_epochs}, loss {logs['loss']:.4g}"
        left = str(self.time_left)
        self._bar.update(
            self._task,
            advance=self.epochs / self.own_epochs,
            state=state + (f", {left}" if left else ""),
        )

    def end(self, record: dict[str, Any]) -> None:
        super().end(record)
        done = self.time_left.done * self.epochs
        self._bar.update(self._task, completed=done)


def progress_display(
    progress: bool,
    runs: Sequence[tuple[int, str]],
    epochs: int,
    time_left: TimeLeft,
) -> Progress:
    """Returns a bar where rich is installed and can draw one, else lines."""
    if not progress:
        return Progress(runs, epochs, time_left)
    try:
        import rich
        import rich.progress
    except ImportError:
        return ProgressLines(runs, epochs, time_left)
    # In a notebook, rich's bar would need a widget that is not saved with it.
    kind = ProgressBar if rich.get_console().is_terminal else ProgressLines
    return kind(runs, epochs, time_left)
