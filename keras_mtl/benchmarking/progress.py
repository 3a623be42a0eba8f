"""What shows the progress of a benchmark."""

from typing import Any

import keras


class Progress:
    """Shows nothing; the base of what shows the progress.

    Args:
        runs: Number of runs.
        epochs: Number of epochs of each run.
    """

    def __init__(self, runs: int, epochs: int) -> None:
        self.runs = runs
        self.epochs = epochs
        self.run = 0

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: Any) -> None:
        pass

    def start(self, label: str, seed: int) -> keras.callbacks.Callback:
        """Returns the callback of the next run."""
        self.run += 1
        self.title = f"[{self.run}/{self.runs}] {label}, seed {seed}"
        return keras.callbacks.LambdaCallback(on_epoch_end=self.show_epoch)

    def show_epoch(self, epoch: int, logs: dict[str, Any]) -> None:
        pass

    def end(self, record: dict[str, Any]) -> None:
        pass


class ProgressLines(Progress):
    """Prints one line a run."""

    def end(self, record: dict[str, Any]) -> None:
        loss = record["history"]["loss"][-1]
        print(
            f"{self.title}: {record['epochs']} epochs, loss {loss:.4g}, "
            f"{record['seconds']:.1f} s",
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
            progress.TimeRemainingColumn(),
            progress.TextColumn("left"),
        )
        total = self.runs * self.epochs
        self._task = self._bar.add_task("", total=total, state="")
        self._bar.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._bar.stop()

    def start(self, label: str, seed: int) -> keras.callbacks.Callback:
        callback = super().start(label, seed)
        self._bar.update(self._task, description=self.title, state="")
        return callback

    def show_epoch(self, epoch: int, logs: dict[str, Any]) -> None:
        state = f"epoch {epoch + 1}/{self.epochs}, loss {logs['loss']:.4g}"
        self._bar.update(self._task, advance=1, state=state)

    def end(self, record: dict[str, Any]) -> None:
        done = self.run * self.epochs
        self._bar.update(self._task, completed=done)


def progress_display(progress: bool, runs: int, epochs: int) -> Progress:
    """Returns a bar where rich is installed and can draw one, else lines."""
    if not progress:
        return Progress(runs, epochs)
    try:
        import rich
        import rich.progress
    except ImportError:
        return ProgressLines(runs, epochs)
    # In a notebook, rich's bar would need a widget that is not saved with it.
    kind = ProgressBar if rich.get_console().is_terminal else ProgressLines
    return kind(runs, epochs)
