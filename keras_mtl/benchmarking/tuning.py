import dataclasses
import os
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from keras_mtl.backend import checks
from keras_mtl.benchmarking import arguments
from keras_mtl.benchmarking import labels
from keras_mtl.benchmarking import selection
from keras_mtl.benchmarking.runs import run_all
from keras_mtl.benchmarking.setting import CompileArgs
from keras_mtl.benchmarking.setting import Setting
from keras_mtl.benchmarking.single_task_result import SingleTaskResult
from keras_mtl.benchmarking.single_task_result import baselines
from keras_mtl.benchmarking.training import Training
from keras_mtl.benchmarking.trials import Outcome
from keras_mtl.benchmarking.trials import Parameters
from keras_mtl.benchmarking.trials import SearchSpace
from keras_mtl.benchmarking.trials import checked_rates
from keras_mtl.benchmarking.tuning_result import TuningResult
from keras_mtl.losses import directions
from keras_mtl.model import MultiTaskModel


def tune(
    build: Callable[[], MultiTaskModel],
    data: Any,
    *,
    weightings: Sequence | dict[str, Any],
    learning_rates: Sequence[float],
    compile_args: CompileArgs | None = None,
    parameters: Parameters | None = None,
    trials: int | None = None,
    weight_range: tuple[float, float] = (0.1, 10.0),
    seed: int = 1000,
    epochs: int = 1,
    fraction: float = 1 / 3,
    batch_size: int | None = None,
    validation_data: Any = None,
    metrics: dict[str, str | Sequence[str]] | Sequence[str] | None = None,
    higher_is_better: Sequence[str] | Mapping[str, bool] | None = None,
    baseline: dict[str, float] | SingleTaskResult | None = None,
    select: str | tuple[str, str] | None = None,
    path: str | os.PathLike | None = None,
    callbacks: Any = None,
    progress: bool = True,
    **fit_arguments: Any,
) -> TuningResult:
    """Searches the settings of each weighting, at the same cost for all.

    Each method has the same number of trials. They are the learning rates, for
    each combination of its own parameters; a method that has fewer combinations
    than another one gets more learning rates in the same range. `"tuned"`
    stands for fixed weights: equal ones first, then some that are drawn at
    random, as many in all.

    A trial counts by its best epoch on the validation data; there is no test
    data. `benchmark(weightings=search.best)` trains with what was found.

    Example:

    >>> x = np.random.default_rng(0).normal(size=(64, 4))
    >>> y = {"sum": x.sum(-1, keepdims=True), "max": x.max(-1, keepdims=True)}
    >>> def build():
    ...     inputs = keras.Input((4,))
    ...     outputs = {task: keras.layers.Dense(1)(inputs) for task in y}
    ...     return keras_mtl.MultiTaskModel(inputs, outputs)
    >>> search = keras_mtl.tune(
    ...     build,
    ...     (x, y),
    ...     compile_args={"optimizer": "sgd", "loss": "mse"},
    ...     weightings=["equal", "tuned"],
    ...     learning_rates=[1e-4, 1e-3, 1e-2],
    ...     validation_split=0.25,
    ...     progress=False,
    ... )
    >>> search.best["equal"].learning_rate
    0.01

    Args:
        build: As of `benchmark`.
        data: As of `benchmark`.
        weightings: As of `benchmark`; `"tuned"` is another one.
        learning_rates: List of three or more, which the optimizer of
            `compile_args` gets.
        compile_args: As of `benchmark`. A function with the arguments
            `learning_rate` and `epochs` can make a schedule of them.
        parameters: Dict of label to a dict of an argument of its constructor
            to the list of its values, such as `{"cagrad": {"c": [0.2, 0.4]}}`.
        trials: Number of the trials of each method. By default the largest
            number of combinations that a method has.
        weight_range: The lowest and the highest weight of `"tuned"`, before
            the weights are brought to a sum of one for each task.
        seed: Integer, 0 or more, that no run of the benchmark has: it refuses
            it.
        epochs: Epochs of the benchmark.
        fraction: The part of them for which a trial trains.
        batch_size: As in `fit`.
        validation_data: As in `fit`; or type `validation_split`.
        metrics: As of `benchmark`: what Δm is of.
        higher_is_better: As of `benchmark`.
        baseline: Dict of key to value on validation data, or the result of
            `keras_mtl.benchmarking.single_task`, which knows them.
        select: Validation result by which a trial counts, as of `benchmark`. By
            default `"val_delta_m"` if there is a `baseline`, else `"val_loss"`.
        path: File of JSON lines to which each trial is appended as it ends, and
            from which an interrupted search continues.
        callbacks: As of `benchmark`.
        progress: As of `benchmark`.
        **fit_arguments: Other arguments of `fit`.

    Returns:
        A `TuningResult`.

    Raises:
        ValueError: If an argument is not as described, or if `path` holds
            trials with other settings, which are named.
    """
    chosen = {x: Setting.of(y) for x, y in labels.by_label(weightings).items()}
    rates = checked_rates(learning_rates)
    compile_args = arguments.renamed_compile_args(compile_args, fit_arguments)
    _check_search(seed, fraction, fit_arguments)
    arguments.check_training(build, data, epochs, fit_arguments)
    space = SearchSpace(
        chosen, rates, parameters or {}, trials, weight_range, seed
    )
    fitting = {
        **arguments.as_arguments(data),
        "epochs": _part(epochs, fraction),
        "batch_size": batch_size,
        "validation_data": validation_data,
        **fit_arguments,
    }
    training = Training(build, compile_args, fitting, None, callbacks)
    prototype = training.prototype([Setting("equal", rates[0])])
    tried = space.trials_of(prototype.tasks)
    keys = arguments.result_keys(metrics, prototype.tasks)
    directions.check_keys(keys, prototype)
    higher = directions.higher_keys(higher_is_better, keys, prototype)
    validation = baselines(baseline, keys, None)[1]
    training.compare_with(validation, higher, prototype.tasks)
    by_default = "val_loss" if validation is None else selection.DELTA_M
    settings = selection.resolve_all(
        {x.name: _shortened(x.setting, epochs, fraction) for x in tried},
        select or by_default,
        prototype,
        higher_is_better,
        fitting,
    )
    training.check(prototype, settings.values())
    described = training.settings(prototype, settings)
    del prototype
    records = run_all(training, settings, described, [seed], path, progress)
    return TuningResult(
        [
            Outcome(trial, record, settings[trial.name].select)
            for trial, record in zip(tried, records, strict=True)
        ],
        seed,
    )


def _part(epochs: int, fraction: float) -> int:
    return max(1, round(epochs * fraction))


def _shortened(setting: Setting, epochs: int, fraction: float) -> Setting:
    own = _part(setting.epochs or epochs, fraction)
    return dataclasses.replace(setting, epochs=own)


def _check_search(
    seed: int,
    fraction: float,
    fit_arguments: Mapping[str, Any],
) -> None:
    checks.non_negative_integer("seed", seed)
    checks.fraction("fraction", fraction, "(0, 1]")
    foreign = {"test_data", "seeds", "scale"} & set(fit_arguments)
    if foreign:
        raise ValueError(
            "Expected arguments of a search, which has one `seed` and looks at "
            "no test data; give the others to `keras_mtl.benchmark`. "
            f"Received: {sorted(foreign)}"
        )
