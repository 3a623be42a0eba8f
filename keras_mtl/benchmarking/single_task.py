import dataclasses
import math
import os
import statistics
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from keras_mtl.benchmarking.arguments import check_builder
from keras_mtl.benchmarking.arguments import check_seeds
from keras_mtl.benchmarking.arguments import renamed_compile_args
from keras_mtl.benchmarking.benchmark import benchmark
from keras_mtl.benchmarking.selection import PREFIX
from keras_mtl.benchmarking.selection import validation_results
from keras_mtl.benchmarking.setting import CompileArgs
from keras_mtl.benchmarking.setting import Setting
from keras_mtl.benchmarking.single_task_result import SingleTaskResult
from keras_mtl.benchmarking.training import Training
from keras_mtl.benchmarking.trials import checked_rates
from keras_mtl.benchmarking.tuning import tune
from keras_mtl.model import MultiTaskModel


def single_task(
    build: Callable[[], MultiTaskModel],
    data: Any,
    *,
    tasks: Sequence[str] | None = None,
    compile_args: CompileArgs | None = None,
    learning_rates: Sequence[float] | None = None,
    search_seed: int = 1000,
    fraction: float = 1 / 3,
    seeds: Iterable[int] = (0,),
    epochs: int = 1,
    test_data: Any = None,
    select: str | Mapping[str, str] | None = None,
    path: str | os.PathLike | None = None,
    **arguments: Any,
) -> SingleTaskResult:
    """Trains one model for each task, as the baseline of Δm.

    Each is the model of `build()` with weight 1 for its task and 0 for the
    others, so that its shared layers serve one task alone.

    Example:

    >>> x = np.random.default_rng(0).normal(size=(64, 4))
    >>> y = {"sum": x.sum(-1, keepdims=True), "max": x.max(-1, keepdims=True)}
    >>> def build():
    ...     inputs = keras.Input((4,))
    ...     outputs = {task: keras.layers.Dense(1)(inputs) for task in y}
    ...     return keras_mtl.MultiTaskModel(inputs, outputs)
    >>> alone = keras_mtl.benchmarking.single_task(
    ...     build,
    ...     (x, y),
    ...     compile_args={"optimizer": "sgd", "loss": "mse"},
    ...     validation_split=0.25,
    ...     progress=False,
    ... )
    >>> alone.results.keys() == {"sum_loss", "max_loss"}
    True

    Args:
        build: As of `benchmark`.
        data: As of `benchmark`.
        tasks: Names of the tasks for which a model is trained, by default all.
            With `data` that has labels of one task only, the model of that
            task sees its own examples.
        compile_args: As of `benchmark`.
        learning_rates: List of three or more, of which the best one is searched
            for each task, as by `tune`. By default, it is that of
            `compile_args`.
        search_seed: Seed of that search.
        fraction: The part of the epochs for which a trial of it trains.
        seeds: As of `benchmark`.
        epochs: As of `benchmark`.
        test_data: As of `benchmark`. The search does not look at it.
        select: Name of the metric of the tasks, such as `"loss"` or
            `"accuracy"`, by whose validation result the best epoch of each
            model is selected; or a dict of task to that. By default, the last
            epoch is tested, and the search goes by `"loss"`.
        path: As of `benchmark`; the trials are in it, too.
        **arguments: Other arguments of `benchmark`: `batch_size`,
            `validation_data`, `higher_is_better`, `callbacks`, `on_run_end`,
            `progress`, and those of `fit`.

    Returns:
        A `SingleTaskResult`, which is a `baseline` of `benchmark` and `tune`.

    Raises:
        ValueError: If an argument is not as described.
    """
    compile_args = renamed_compile_args(compile_args, arguments)
    check_builder(build)
    _check_arguments(arguments)
    rate, searched = None, None
    if learning_rates is not None:
        rate, searched = checked_rates(learning_rates)[0], search_seed
    # The search is long; what is wrong with the seeds shows before it.
    seeds = check_seeds(seeds, {"": Setting("equal", search_seed=searched)})
    training = Training(build, compile_args, {"epochs": epochs}, None, None)
    known = training.prototype([Setting("equal", rate)]).tasks
    settings = _settings(known, _checked_tasks(tasks, known), select)
    common = {
        **arguments,
        "compile_args": compile_args,
        "epochs": epochs,
        "metrics": [x.select.removeprefix(PREFIX) for x in settings.values()],
        "path": path,
    }
    if learning_rates is not None:
        searching = {x: y for x, y in common.items() if x != "on_run_end"}
        settings = tune(
            build,
            data,
            weightings=settings,
            learning_rates=learning_rates,
            seed=search_seed,
            fraction=fraction,
            **searching,
        ).best
    if select is None:
        settings = _without_selection(settings)
    records = benchmark(
        build,
        data,
        weightings=settings,
        seeds=seeds,
        test_data=test_data,
        **common,
    ).records
    return SingleTaskResult(
        _means(records, known, lambda record: record["metrics"]),
        _means(records, known, _validation_of),
        {x: y.learning_rate for x, y in settings.items() if y.learning_rate},
        records,
    )


def _checked_tasks(
    tasks: Sequence[str] | None, known: Sequence[str]
) -> Sequence[str]:
    if tasks is None:
        return known
    if isinstance(tasks, str) or not tasks or not set(tasks) <= set(known):
        raise ValueError(
            f"Expected `tasks` to be a list of names among {list(known)}. "
            f"Received: tasks={tasks!r}"
        )
    return tasks


def _settings(
    known: Sequence[str],
    tasks: Sequence[str],
    select: str | Mapping[str, str] | None,
) -> dict[str, Setting]:
    """Returns the setting of each task, with what its best epoch is."""
    names = select
    if select is None or isinstance(select, str):
        names = dict.fromkeys(tasks, select or "loss")
    if not isinstance(names, Mapping) or set(names) != set(tasks):
        raise ValueError(
            "Expected `select` to be the name of a metric, such as "
            f'"loss", or a dict of that with the tasks {list(tasks)}. '
            f"Received: select={select!r}"
        )
    return {
        task: Setting(
            {other: float(other == task) for other in known},
            select=f"{PREFIX}{task}_{names[task]}",
        )
        for task in tasks
    }


def _without_selection(settings: Mapping[str, Setting]) -> dict[str, Setting]:
    return {
        task: dataclasses.replace(setting, select=None)
        for task, setting in settings.items()
    }


def _check_arguments(arguments: Mapping[str, Any]) -> None:
    own = {"weightings", "baseline", "metrics", "scale", "equal_cost"}
    foreign = own & set(arguments)
    if foreign:
        raise ValueError(
            "Expected arguments of `benchmark` that models of one task each "
            f"have. Received: {sorted(foreign)}"
        )


def _validation_of(record: Mapping[str, Any]) -> Mapping[str, float]:
    """Returns the validation results of the epoch that was tested."""
    if "validation" in record:
        return record["validation"]
    history = record["history"]
    return validation_results({key: x[-1] for key, x in history.items()})


def _means(
    records: Sequence[dict[str, Any]],
    tasks: Sequence[str],
    results_of: Callable[[dict[str, Any]], Mapping[str, float]],
) -> dict[str, float]:
    """Returns each result's mean over the seeds, of the model of its task."""
    values: dict[str, list[float]] = {}
    for record in records:
        for key, value in results_of(record).items():
            if _task_of(key, tasks) == record["label"]:
                values.setdefault(key, []).append(value)
    return {
        key: statistics.fmean(x) if all(map(math.isfinite, x)) else math.nan
        for key, x in values.items()
    }


def _task_of(key: str, tasks: Sequence[str]) -> str | None:
    """Returns the task of a result; the name of one may begin another's."""
    own = [task for task in tasks if key.startswith(f"{task}_")]
    return max(own, key=len, default=None)
