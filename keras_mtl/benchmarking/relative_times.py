import statistics
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

from keras_mtl.backend import checks
from keras_mtl.benchmarking import arguments
from keras_mtl.benchmarking import labels
from keras_mtl.benchmarking.setting import CompileArgs
from keras_mtl.benchmarking.setting import Setting
from keras_mtl.benchmarking.step_timer import StepTimer
from keras_mtl.benchmarking.training import Training
from keras_mtl.model import MultiTaskModel


def relative_times(
    build: Callable[[], MultiTaskModel],
    data: Any,
    *,
    weightings: Sequence | dict[str, Any],
    compile_args: CompileArgs | None = None,
    baseline: Any = "equal",
    rounds: int = 5,
    warm_up: int = 1,
    batch_size: int | None = None,
    **fit_arguments: Any,
) -> dict[str, float]:
    """Measures the time of a training step, relative to a baseline's.

    A machine changes its speed while it measures. So a model of the baseline
    and one of the weighting train an epoch by turns, in the order A B B A; the
    result is the median, over the rounds, of the ratio of their times. Measure
    on a machine that does nothing else. What is random begins anew with 0.

    Example:

    >>> x = np.random.default_rng(0).normal(size=(64, 4))
    >>> y = {"sum": x.sum(-1, keepdims=True), "max": x.max(-1, keepdims=True)}
    >>> def build():
    ...     inputs = keras.Input((4,))
    ...     outputs = {task: keras.layers.Dense(1)(inputs) for task in y}
    ...     return keras_mtl.MultiTaskModel(inputs, outputs)
    >>> times = keras_mtl.benchmarking.relative_times(
    ...     build,
    ...     (x, y),
    ...     compile_args={"optimizer": "sgd", "loss": "mse"},
    ...     weightings=["equal", "uncertainty"],
    ...     rounds=1,
    ... )
    >>> times["equal"]
    1.0

    Args:
        build: As of `benchmark`.
        data: As of `benchmark`. Some 50 batches are enough for most methods; or
            type `steps_per_epoch`.
        weightings: As of `benchmark`.
        compile_args: As of `benchmark`.
        baseline: One of the labels, or what `keras_mtl.weightings.get` takes.
        rounds: Number of the ratios.
        warm_up: Epochs before them. The first one compiles; for a method that
            acts from a later epoch on, such as `IGBv2`, so many that it does.
        batch_size: As in `fit`.
        **fit_arguments: Other arguments of `fit`.

    Returns:
        Dict of label to relative time, the `equal_cost` of `benchmark`.

    Raises:
        ValueError: If an argument is not as described.
    """
    compile_args = arguments.renamed_compile_args(compile_args, fit_arguments)
    settings = labels.settings_by_label(weightings, None, 1)
    arguments.check_training(build, data, 1, fit_arguments)
    checks.positive_integer("rounds", rounds)
    checks.positive_integer("warm_up", warm_up)
    fitting = {
        **arguments.as_arguments(data),
        "epochs": 1,
        "batch_size": batch_size,
        **fit_arguments,
    }
    training = Training(build, compile_args, fitting, None, None)
    reference = labels.among(baseline, settings)
    is_label = isinstance(reference, str) and reference in settings
    first = settings[reference] if is_label else Setting.of(baseline)
    one = _timed(training, first, warm_up)
    return {
        label: 1.0
        if is_label and label == reference
        else _ratio(one, _timed(training, setting, warm_up), rounds)
        for label, setting in settings.items()
    }


def _timed(
    training: Training, setting: Setting, warm_up: int
) -> Callable[[], float]:
    """Returns a function that trains an epoch, and returns a step's seconds."""
    epoch = training.epoch(setting)

    def seconds() -> float:
        timer = StepTimer()
        epoch(timer)
        return timer.seconds_per_step

    for _ in range(warm_up):
        seconds()
    return seconds


def _ratio(
    one: Callable[[], float], other: Callable[[], float], rounds: int
) -> float:
    ratios = []
    for _ in range(rounds):
        before, first, second, after = one(), other(), other(), one()
        ratios.append((first + second) / (before + after))
    return statistics.median(ratios)
