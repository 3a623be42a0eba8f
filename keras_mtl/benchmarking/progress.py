"""What shows the progress of a benchmark."""

import keras


def progress_display(progress, runs, epochs):
    if not progress:
        return _Silent(runs, epochs)
    try:
        import rich
        import rich.progress
    except ImportError:
        return _Lines(runs, epochs)
    console = rich.get_console()
    # In a notebook, rich's bar would need a widget that is not saved with it.
    return (_Bar if console.is_terminal else _Lines)(runs, epochs)


class _Silent:
    """Shows nothing; the base of what shows the progress."""

    def __init__(self, runs, epochs):
        self.runs = runs
        self.epochs = epochs
        self.run = 0

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def start(self, label, seed):
        """Returns the callback of the next run."""
        self.run += 1
        self.title = f"[{self.run}/{self.runs}] {label}, seed {seed}"
        return keras.callbacks.LambdaCallback(on_epoch_end=self.show_epoch)

    def show_epoch(self, epoch, logs):
        pass

    def end(self, record):
        pass


class _Lines(_Silent):
    """Prints one line a run."""

    def end(self, record):
        loss = record["history"]["loss"][-1]
        print(
            f"{self.title}: {record['epochs']} epochs, loss {loss:.4g}, "
            f"{record['seconds']:.1f} s",
            flush=True,
        )


class _Bar(_Silent):
    """Shows a bar over the epochs of all runs."""

    def __enter__(self):
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

    def __exit__(self, *error):
        self._bar.stop()

    def start(self, label, seed):
        callback = super().start(label, seed)
        self._bar.update(self._task, description=self.title, state="")
        return callback

    def show_epoch(self, epoch, logs):
        state = f"epoch {epoch + 1}/{self.epochs}, loss {logs['loss']:.4g}"
        self._bar.update(self._task, advance=1, state=state)

    def end(self, record):
        done = self.run * self.epochs
        self._bar.update(self._task, completed=done)
