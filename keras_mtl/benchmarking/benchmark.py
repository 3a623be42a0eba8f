import keras

from keras_mtl.benchmarking import arguments
from keras_mtl.benchmarking.progress import progress_display
from keras_mtl.benchmarking.result import BenchmarkResult
from keras_mtl.benchmarking.run_log import RunLog
from keras_mtl.benchmarking.settings import describe
from keras_mtl.benchmarking.settings import describe_model
from keras_mtl.benchmarking.step_timer import StepTimer


def benchmark(
    build,
    data,
    *,
    compile,
    weightings,
    seeds=(0,),
    epochs=1,
    batch_size=None,
    validation_data=None,
    test_data=None,
    metrics=None,
    higher_is_better=(),
    baseline=None,
    scale=None,
    path=None,
    callbacks=None,
    on_run_end=None,
    progress=True,
    **fit_arguments,
):
    """Trains the same model with each weighting and seed.

    A run is `keras.utils.set_random_seed(seed)`, `build()`, `compile`, `fit`
    and `evaluate`: with one seed, all weightings start from the same parameters
    and see the same batches. The runs of a seed follow each other, so that a
    change in the machine's speed meets all weightings.

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
    ...     compile={"optimizer": "adam", "loss": {"sum": "mse", "max": "mse"}},
    ...     weightings=["equal", "scale_invariant"],
    ...     seeds=range(3),
    ...     progress=False,
    ... )
    >>> result.summary()["equal"]["runs"]
    3

    Args:
        build: Callable that returns a new, uncompiled `MultiTaskModel`.
        data: Training data: a tuple `(x, y)` or `(x, y, sample_weight)`, or
            any data set that `fit` takes and that can be read several times.
        compile: Dict of the arguments of `MultiTaskModel.compile` but
            `weighting`, or a callable that returns one. Its optimizer can be a
            callable that returns one too; an instance is made anew from its
            configuration for each run.
        weightings: List of what `keras_mtl.weightings.get` takes, or a dict of
            label to that. An instance is made anew from its configuration.
        seeds: Integers.
        epochs: Epochs of each run.
        batch_size: As in `fit`, `evaluate` uses it too.
        validation_data: As in `fit`.
        test_data: What the results are measured on, in the forms of `data`. By
            default `validation_data`; without that, the training data.
        metrics: The results to compare: a dict of task to the name of its
            metric (or a list of names), or a list of the keys that `evaluate`
            returns. By default, the loss of each task.
        higher_is_better: Those keys for which a higher value is better.
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
        progress: Whether to show the progress, with rich if it is installed.
        **fit_arguments: Other arguments of `fit`.

    Returns:
        A `BenchmarkResult`.

    Raises:
        ValueError: If an argument is not as described, or if `path` holds runs
            with other settings, which are named.
    """
    weightings = arguments.by_label(weightings)
    seeds = arguments.check_seeds(seeds)
    arguments.check_training(build, data, epochs, fit_arguments)
    prototype = arguments.build_model(build)
    for weighting in weightings.values():
        arguments.compile_model(prototype, compile, weighting)
    comparison = {
        "keys": arguments.result_keys(metrics, prototype.tasks),
        "labels": list(weightings),
        "higher_is_better": higher_is_better,
        "baseline": next(iter(weightings)) if baseline is None else baseline,
        "scale": scale,
    }
    # So that what is wrong shows before the first run.
    BenchmarkResult([], **comparison)
    fitting = {
        **arguments.as_arguments(data),
        "epochs": epochs,
        "batch_size": batch_size,
        "validation_data": validation_data,
        **fit_arguments,
    }
    testing = arguments.evaluate_arguments(data, test_data, fitting)
    settings = {
        "backend": keras.backend.backend(),
        "model": describe_model(prototype),
        "compile": describe(arguments.resolve(compile)),
        "fit": describe(fitting | {"verbose": None}),
        "evaluate": describe(testing),
        "callbacks": describe(callbacks),
    }
    del prototype
    log = RunLog(path, settings, weightings)
    runs = [(s, label) for s in seeds for label in weightings]
    records = []
    remaining = sum(run not in log for run in runs)
    with progress_display(progress, remaining, epochs) as display:
        for seed, label in runs:
            if (seed, label) not in log:
                keras.utils.set_random_seed(seed)
                model = arguments.compile_model(
                    arguments.build_model(build), compile, weightings[label]
                )
                used = callbacks() if callable(callbacks) else callbacks
                used = [display.start(label, seed), *arguments.as_list(used)]
                record = {"label": label, "seed": seed}
                record.update(_train(model, fitting, testing, used))
                log.append(record)
                display.end(record)
                BenchmarkResult([record], **comparison)
                if on_run_end is not None:
                    on_run_end(model, record)
            records.append(log[seed, label])
    return BenchmarkResult(records, **comparison)


def _train(model, fitting, testing, callbacks):
    timer = StepTimer()
    fitting = {"verbose": 0, **fitting, "callbacks": [timer, *callbacks]}
    history = model.fit(**fitting).history
    metrics = model.evaluate(**testing, verbose=0, return_dict=True)
    return {
        "epochs": len(history["loss"]),
        "seconds": timer.seconds,
        "seconds_per_step": timer.seconds_per_step,
        "metrics": {key: float(value) for key, value in metrics.items()},
        "history": {
            key: [float(value) for value in values]
            for key, values in history.items()
        },
    }
