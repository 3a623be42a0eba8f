"""The runs of a benchmark or of a search, one after the other."""

import os
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from keras_mtl.benchmarking.progress import Progress
from keras_mtl.benchmarking.progress import progress_display
from keras_mtl.benchmarking.run_log import RunLog
from keras_mtl.benchmarking.setting import Setting
from keras_mtl.benchmarking.time_left import TimeLeft
from keras_mtl.benchmarking.training import Training
from keras_mtl.model import MultiTaskModel


def run_all(
    training: Training,
    settings: Mapping[str, Setting],
    described: Mapping[str, dict[str, Any]],
    seeds: Sequence[int],
    path: str | os.PathLike | None,
    progress: bool,
    on_run_end: Callable[[MultiTaskModel, dict], Any] = lambda model, x: None,
) -> list[dict[str, Any]]:
    """Trains what the file does not hold, and returns all records.

    Args:
        training: What the runs have in common.
        settings: Dict of label to `Setting`.
        described: Dict of label to what `training.settings` says of it.
        seeds: As of `benchmark`.
        path: As of `benchmark`.
        progress: As of `benchmark`.
        on_run_end: Called with the model and the record of each run.
    """
    weightings = {label: x.weighting for label, x in settings.items()}
    log = RunLog(path, described, weightings)
    runs = [(seed, label) for seed in seeds for label in settings]
    missing = [run for run in runs if run not in log]
    left = TimeLeft([label for _, label in missing], _seconds(runs, log))
    with progress_display(progress, runs, training.epochs, left) as display:
        for model, record in _train(missing, settings, training, display):
            log.append(record)
            display.end(record)
            on_run_end(model, record)
    return [log[run] for run in runs]


def _seconds(
    runs: Iterable[tuple[int, str]], log: RunLog
) -> dict[str, list[float]]:
    """Returns how long the runs took that the log holds, by label."""
    seconds: dict[str, list[float]] = {}
    for run in runs:
        if run in log:
            seconds.setdefault(run[1], []).append(log[run]["seconds"])
    return seconds


def _train(
    runs: Iterable[tuple[int, str]],
    settings: Mapping[str, Setting],
    training: Training,
    display: Progress,
) -> Iterator[tuple[MultiTaskModel, dict[str, Any]]]:
    """Yields the model and the record of each run when it has ended."""
    for seed, label in runs:
        setting = settings[label]
        callback = display.start(label, seed, setting.epochs)
        model, run = training.run(
            seed, setting, callback, f"{label!r}, seed {seed}"
        )
        yield model, {"label": label, "seed": seed, **run}
