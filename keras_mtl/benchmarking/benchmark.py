import functools
import os
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from keras_mtl.benchmarking import arguments
from keras_mtl.benchmarking import labels
from keras_mtl.benchmarking.progress import Progress
from keras_mtl.benchmarking.progress import progress_display
from keras_mtl.benchmarking.result import BenchmarkResult
from keras_mtl.benchmarking.run_log import RunLog
from keras_mtl.benchmarking.time_left import TimeLeft
from keras_mtl.benchmarking.training import Training
from keras_mtl.losses import directions
from keras_mtl.model import MultiTaskModel


def benchmark(
    build: Callable[[], MultiTaskModel],
    data: Any,
    *,
    weightings: Sequence | dict[str, Any],
    compile_args: arguments.CompileArgs | None = None,
    seeds: Iterable[int] = (0,),
    epochs: int = 1,
    batch_size: int | None = None,
    validation_data: Any = None,
    test_data: Any = None,
    metrics: dict[str, str | Sequence[str]] | Sequence[str] | None = None,
    higher_is_better: Sequence[str] | Mapping[str, bool] | None = None,
    baseline: str | dict[str, float] | None = None,
    scale: Mapping[str, float] | None = None,
    path: str | os.PathLike | None = None,
    callbacks: Any = None,
    on_run_end: Callable[[MultiTaskModel, dict], Any] | None = None,
    progress: bool = True,
    **fit_arguments: Any,
) -> BenchmarkResult:
    """Trains the same model with each weighting and seed.

    A run is `keras.utils.set_random_seed(seed)`, `build()`, `compile`, `fit`
    and `evaluate`: with one seed, all weightings start from the same parameters
    and see the same batches. The runs of a seed follow each other, so that a
    change in the machine's speed meets all weightings.

    With arrays, each seed has batches of its own on every version of Keras:
    before `fit` shuffles them, they are brought into the order
    `np.random.default_rng(seed).permutation(len(x))`, which takes the memory of
    a copy of them. (Of `validation_split`, that is the order of the training
    part.) With `shuffle=False` or `shuffle="batch"`, and of data sets other
    than arrays, the order is theirs.

    Example:

    >>> x = np.random.default_rng(0).normal(size=(64, 4))
    >>> y = {"sum": x.sum(-1, keepdims=True), "max": x.max(-1, keepdims=True)}
    >>> def build():
    ...     inputs = keras.Input((4,))
    ...     features = keras.layers.Dense(8, activation="relu")(inputs)
    ...     outputs = {task: keras.layers.Dense(1)(features) for task in y}
    ...     return keras_mtl.MultiTaskModel(inputs, outputs)
    >>> result = keras_mtl.benchmark(
    ...     build,
    ...     (x, y),
    ...     compile_args={
    ...         "optimizer": "adam", "loss": {"sum": "mse", "max": "mse"}
    ...     },
    ...     weightings=["equal", "scale_invariant"],
    ...     seeds=range(3),
    ...     progress=False,
    ... )
    >>> result.summary()["equal"]["runs"]
    3

    Args:
        build: Function without arguments that returns a new, uncompiled
            `MultiTaskModel`.
        data: Training data: a tuple `(x, y)` or `(x, y, sample_weight)`, or
            any data set that `fit` takes and that can be read several times.
        compile_args: Dict of the arguments of `MultiTaskModel.compile` but
            `weighting`, or a callable that returns one. Its optimizer can be a
            callable that returns one too; an instance is made anew from its
            configuration for each run. (Its old name `compile` works for one
            more version, with a `DeprecationWarning`.)
        weightings: List of what `keras_mtl.weightings.get` takes, or a dict of
            label to that. An instance is made anew from its configuration. In
            a list, the label of a method is its name as in
            `keras_mtl.weightings.names()`, however it is spelled.
        seeds: Different integers, 0 or more.
        epochs: Epochs of each run.
        batch_size: As in `fit`, `evaluate` uses it too.
        validation_data: As in `fit`.
        test_data: What the results are measured on, in the forms of `data`. By
            default `validation_data`; without that, the training data.
        metrics: The results to compare: a dict of task to the name of its
            metric (or a list of names), or a list of the keys that `evaluate`
            returns. By default, the loss of each task.
        higher_is_better: List of the keys for which a higher value is better,
            or dict of key to whether it is. By default, and for the keys that
            are left out, it is that of Keras's own metrics: higher for
            accuracies, AUC, precision, recall, F1, IoU, R² and the like, lower
            for losses and errors. Of other metrics it must be given; those
            that a list leaves out count as lower.
        baseline: What Δm is relative to: one of the labels (by default the
            first), or a dict of key to value, for example of single-task
            models.
        scale: Dict of key to a factor that brings its values to their unit.
            The values of `baseline` are in that unit; those of the records are
            as `evaluate` returns them.
        path: File of JSON lines to which each run is appended as it ends. Runs
            that it already holds are not repeated, so that an interrupted
            benchmark continues. Of data sets other than arrays it is not
            checked whether their content is the same. Values that are not
            finite are `null` in it, and NaN when read again.
        callbacks: Callbacks of `fit`, or a callable that returns a list of new
            ones for each run, which is what callbacks with a state need.
        on_run_end: Called as `on_run_end(model, record)` after each run that
            is not read from `path`, for example to keep the best model.
        progress: Whether to show the progress and the time that is left, with
            rich if it is installed.
        **fit_arguments: Other arguments of `fit`.

    Returns:
        A `BenchmarkResult`.

    Raises:
        ValueError: If an argument is not as described, or if `path` holds runs
            with other settings, which are named.
    """
    compile_args = arguments.renamed_compile_args(compile_args, fit_arguments)
    weightings = labels.by_label(weightings)
    seeds = arguments.check_seeds(seeds)
    arguments.check_training(build, data, epochs, fit_arguments)
    fitting = {
        **arguments.as_arguments(data),
        "epochs": epochs,
        "batch_size": batch_size,
        "validation_data": validation_data,
        **fit_arguments,
    }
    testing = arguments.evaluate_arguments(data, test_data, fitting)
    training = Training(build, compile_args, fitting, testing, callbacks)
    prototype = training.prototype(weightings.values())
    keys = arguments.result_keys(metrics, prototype.tasks)
    directions.check_keys(keys, prototype)
    compare = functools.partial(
        BenchmarkResult,
        keys=keys,
        labels=list(weightings),
        higher_is_better=directions.higher_keys(
            higher_is_better, keys, prototype
        ),
        baseline=labels.among(baseline, weightings),
        scale=scale,
    )
    # Wrong arguments of the comparison show now, before the first run.
    compare([])
    log = RunLog(path, training.settings(prototype), weightings)
    del prototype
    runs = [(seed, label) for seed in seeds for label in weightings]
    missing = [run for run in runs if run not in log]
    left = TimeLeft([label for _, label in missing], _seconds(runs, log))
    with progress_display(progress, runs, epochs, left) as display:
        for model, record in _train(missing, weightings, training, display):
            log.append(record)
            display.end(record)
            compare([record])
            if on_run_end is not None:
                on_run_end(model, record)
    return compare([log[run] for run in runs])


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
    weightings: Mapping[str, Any],
    training: Training,
    display: Progress,
) -> Iterator[tuple[MultiTaskModel, dict[str, Any]]]:
    """Yields the model and the record of each run when it has ended."""
    for seed, label in runs:
        callback = display.start(label, seed)
        model, run = training.run(
            seed, weightings[label], callback, f"{label!r}, seed {seed}"
        )
        yield model, {"label": label, "seed": seed, **run}
