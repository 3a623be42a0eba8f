import functools
import os
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from keras_mtl.benchmarking import arguments
from keras_mtl.benchmarking import labels
from keras_mtl.benchmarking import selection
from keras_mtl.benchmarking.result import BenchmarkResult
from keras_mtl.benchmarking.runs import run_all
from keras_mtl.benchmarking.setting import CompileArgs
from keras_mtl.benchmarking.single_task_result import SingleTaskResult
from keras_mtl.benchmarking.single_task_result import baselines
from keras_mtl.benchmarking.training import Training
from keras_mtl.losses import directions
from keras_mtl.model import MultiTaskModel


def benchmark(
    build: Callable[[], MultiTaskModel],
    data: Any,
    *,
    weightings: Sequence | dict[str, Any],
    compile_args: CompileArgs | None = None,
    seeds: Iterable[int] = (0,),
    epochs: int = 1,
    batch_size: int | None = None,
    validation_data: Any = None,
    test_data: Any = None,
    metrics: dict[str, str | Sequence[str]] | Sequence[str] | None = None,
    higher_is_better: Sequence[str] | Mapping[str, bool] | None = None,
    baseline: str | dict[str, float] | SingleTaskResult | None = None,
    scale: Mapping[str, float] | None = None,
    select: str | tuple[str, str] | None = None,
    equal_cost: Mapping[str, float] | None = None,
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
            configuration for each run. If a callable has an argument `epochs`
            or `learning_rate`, it is called with those of the run. (Its old
            name `compile` works for one more version, with a
            `DeprecationWarning`.)
        weightings: List of what `keras_mtl.weightings.get` takes, or a dict of
            label to that, or to a `keras_mtl.benchmarking.Setting`, such as
            the `best` of `keras_mtl.tune`. An instance is made anew from its
            configuration. In a list, the label of a method is its name as in
            `keras_mtl.weightings.names()`, however it is spelled.
        seeds: Different integers, 0 or more. From three on, the comparison has
            confidence intervals.
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
            first), a dict of key to value, or the result of
            `keras_mtl.benchmarking.single_task`. With values, and with
            validation data, a weighting that follows scores (`pivrg`) is told
            after each epoch how far each task is behind them.
        scale: Dict of key to a factor that brings its values to their unit.
            The values of `baseline` are in that unit; those of the records are
            as `evaluate` returns them.
        select: Validation result by which the best epoch of each run is
            selected, whose weights are then tested: a key of the history, such
            as `"val_loss"`, or a pair of that and `"min"` or `"max"`, where it
            is not known which is better. `"val_delta_m"` is Δm on the
            validation data, against the values of `baseline`. By default, the
            last epoch is tested.
        equal_cost: Dict of label to the relative time of a step, such as
            `keras_mtl.benchmarking.relative_times` returns. Each label gets a
            second row, for runs whose epochs are divided by that time, unless
            their number is the same.
        path: File of JSON lines to which each run is appended as it ends. Runs
            that it already holds are not repeated, so that an interrupted
            benchmark continues. Of data sets other than arrays it is not
            checked whether their content is the same. Values that are not
            finite are `null` in it, and NaN when read again.
        callbacks: Callbacks of `fit`, or a callable that returns a list of new
            ones for each run, which is what callbacks with a state need. It is
            called with `epochs` if it has such an argument.
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
    settings = labels.settings_by_label(weightings, equal_cost, epochs)
    seeds = arguments.check_seeds(seeds, settings)
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
    prototype = training.prototype(settings.values())
    keys = arguments.result_keys(metrics, prototype.tasks)
    directions.check_keys(keys, prototype)
    higher = directions.higher_keys(higher_is_better, keys, prototype)
    reference, validation = baselines(baseline, keys, scale)
    compare = functools.partial(
        BenchmarkResult,
        keys=keys,
        labels=list(settings),
        higher_is_better=higher,
        baseline=labels.among(reference, settings),
        scale=scale,
    )
    # Wrong arguments of the comparison show now, before the first run.
    compare([])
    settings = selection.resolve_all(
        settings, select, prototype, higher_is_better, fitting
    )
    training.compare_with(validation, higher, prototype.tasks)
    described = training.settings(prototype, settings)
    del prototype

    def end(model: MultiTaskModel, record: dict[str, Any]) -> None:
        compare([record])
        if on_run_end is not None:
            on_run_end(model, record)

    return compare(
        run_all(training, settings, described, seeds, path, progress, end)
    )
