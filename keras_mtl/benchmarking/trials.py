"""The trials of a search: which settings of a method are tried."""

import dataclasses
import itertools
import math
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_mtl import weightings as weightings_module
from keras_mtl.backend import checks
from keras_mtl.benchmarking import labels
from keras_mtl.benchmarking.selection import PREFIX
from keras_mtl.benchmarking.selection import Select
from keras_mtl.benchmarking.setting import Setting
from keras_mtl.benchmarking.setting import anew

# A range is known by three learning rates: whether the middle one is the best.
MIN_RATES = 3

# Dict of label to a dict of parameter to the values that are tried.
Parameters = Mapping[str, Mapping[str, Sequence[Any]]]


@dataclasses.dataclass(frozen=True)
class Trial:
    """A setting that is tried.

    Attributes:
        label: Label of the method.
        name: Label of the trial in the file of the runs.
        setting: What is trained.
        parameters: Dict of the method's own parameters to their values; of
            fixed weights, `weights`.
    """

    label: str
    name: str
    setting: Setting
    parameters: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of a trial.

    Attributes:
        trial: `Trial`.
        record: Record of its run.
        select: The result by which it counts, and whether its "min" or "max" is
            best.
    """

    trial: Trial
    record: dict[str, Any]
    select: Select

    def score(self) -> float:
        return self.record["validation"][self.select[0].removeprefix(PREFIX)]

    def rank(self) -> float:
        """Returns a number that is lowest for the best trial."""
        sign = -1.0 if self.select[1] == "max" else 1.0
        score = sign * self.score()
        return score if math.isfinite(score) else math.inf


class SearchSpace:
    """What is tried of each method.

    Args:
        settings: Dict of label to `Setting`.
        rates: The learning rates, in increasing order.
        parameters: As of `tune`.
        trials: As of `tune`.
        weight_range: As of `tune`.
        seed: As of `tune`.
    """

    def __init__(
        self,
        settings: Mapping[str, Setting],
        rates: Sequence[float],
        parameters: Parameters,
        trials: int | None,
        weight_range: Sequence[float],
        seed: int,
    ) -> None:
        self._settings = settings
        self._rates = rates
        self._parameters = _checked_parameters(parameters, settings)
        self._number = budget(settings, self._parameters, rates, trials)
        self._weight_range = _checked_range(weight_range)
        self._seed = seed

    def trials_of(self, tasks: Sequence[str]) -> list[Trial]:
        """Returns the trials of all methods, each as many.

        Args:
            tasks: The tasks of the model.
        """
        trials = []
        for label, setting in self._settings.items():
            if labels.is_tuned(setting.weighting):
                trials += random_weights(
                    label,
                    setting,
                    tasks,
                    self._weight_range,
                    self._rates,
                    self._number,
                    self._seed,
                )
            else:
                own = self._parameters.get(label, {})
                trials += grid(label, setting, own, self._rates, self._number)
        return trials


def budget(
    settings: Iterable[str],
    parameters: Parameters,
    rates: Sequence[float],
    trials: int | None,
) -> int:
    """Returns the number of trials of each method.

    Args:
        settings: The labels.
        parameters: As of `tune`.
        rates: The learning rates.
        trials: As of `tune`.
    """
    needed = {
        label: len(rates) * len(_combinations(parameters.get(label, {})))
        for label in settings
    }
    most = max(needed.values())
    if trials is not None and trials < most:
        raise ValueError(
            f"Expected `trials` to be at least {most}, as many as the learning "
            "rates and parameters of a method have combinations: "
            f"{needed}. Received: trials={trials}"
        )
    return trials or most


def grid(
    label: str,
    setting: Setting,
    parameters: Mapping[str, Sequence[Any]],
    rates: Sequence[float],
    number: int,
) -> list[Trial]:
    """Returns the trials of a method, by learning rates and parameters.

    Where there are more trials than combinations, each combination of the
    parameters has more learning rates in the same range.

    Args:
        label: Its label.
        setting: Its `Setting`.
        parameters: Dict of parameter to values.
        rates: The learning rates, in increasing order.
        number: Number of the trials.
    """
    combinations = _combinations(parameters)
    share, rest = divmod(number, len(combinations))
    trials = []
    for i, own in enumerate(combinations):
        weighting = _with_parameters(setting.weighting, own, label)
        method = f"{label}({_text(own)})" if own else label
        for rate in refined(rates, share + (i < rest)):
            tried = dataclasses.replace(
                setting, weighting=weighting, learning_rate=rate
            )
            trials.append(
                Trial(label, f"{method}, learning_rate={rate}", tried, own)
            )
    return trials


def random_weights(
    label: str,
    setting: Setting,
    tasks: Sequence[str],
    weight_range: Sequence[float],
    rates: Sequence[float],
    number: int,
    seed: int,
) -> list[Trial]:
    """Returns trials of fixed weights whose sum is the number of tasks.

    The first ones are equal weights with the learning rate in the middle, since
    a search by hand begins there. Of the others, the logarithm of each weight
    is uniform, before they are brought to that sum. The learning rates take
    turns. More trials begin with the same ones.

    Args:
        label: Their label.
        setting: Their `Setting`, whose weighting is not used.
        tasks: The tasks.
        weight_range: The lowest and the highest weight.
        rates: The learning rates.
        number: Number of the trials.
        seed: Seed of the weights.
    """
    rng = np.random.default_rng(seed)
    low, high = map(math.log, weight_range)
    trials = []
    for i in range(number):
        weights = np.ones(len(tasks))
        if i > 0:
            weights = np.exp(rng.uniform(low, high, len(tasks)))
            weights *= len(tasks) / weights.sum()
        fixed = dict(zip(tasks, map(float, weights), strict=True))
        rate = rates[(len(rates) // 2 + i) % len(rates)]
        own = dataclasses.replace(setting, weighting=fixed, learning_rate=rate)
        name = f"{label}({i + 1}), learning_rate={rate}"
        trials.append(Trial(label, name, own, {"weights": fixed}))
    return trials


def refined(rates: Sequence[float], number: int) -> list[float]:
    """Returns more learning rates in the same range.

    Between two of the given ones, the logarithms have the same distance.

    Example:

    >>> refined([0.001, 0.01, 0.1], 5)
    [0.001, 0.003162, 0.01, 0.03162, 0.1]
    """
    if number == len(rates) or len(rates) == 1:
        return list(rates)
    places = np.linspace(0, len(rates) - 1, number)
    logs = np.interp(places, np.arange(len(rates)), np.log(rates))
    given = {place: rates[int(place)] for place in places if place % 1 == 0}
    # Rounded, they can be read in labels, which differ.
    for digits in (4, 6, 9, 17):
        rounded = [
            given.get(place, float(f"{math.exp(log):.{digits}g}"))
            for place, log in zip(places, logs, strict=True)
        ]
        if len(set(rounded)) == number:
            break
    return rounded


def _combinations(
    parameters: Mapping[str, Sequence[Any]],
) -> list[dict[str, Any]]:
    return [
        dict(zip(parameters, values, strict=True))
        for values in itertools.product(*parameters.values())
    ]


def _text(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())


def _with_parameters(
    weighting: Any, values: Mapping[str, Any], label: str
) -> Any:
    """Returns a weighting with other arguments of its constructor.

    In a chain, they are those of its only part that has them.
    """
    if not values:
        return weighting
    is_chain = isinstance(weighting, (list, tuple))
    parts = [
        weightings_module.get(anew(x))
        for x in (weighting if is_chain else [weighting])
    ]
    configs = [part.get_config() for part in parts]
    for name, value in values.items():
        having = [config for config in configs if name in config]
        if len(having) != 1:
            known = sorted({x for config in configs for x in config})
            raise ValueError(
                f"Expected `parameters` of {label!r} to be arguments of its "
                f"constructor, which are {known}. Received: {name!r}"
            )
        having[0][name] = value
    made = [
        type(part).from_config(config)
        for part, config in zip(parts, configs, strict=True)
    ]
    return made if is_chain else made[0]


def _checked_parameters(
    parameters: Parameters, settings: Mapping[str, Setting]
) -> dict[str, dict[str, list[Any]]]:
    """Returns the parameters with the labels of the settings."""
    checked = {}
    for name, values in parameters.items():
        label = labels.among(name, settings)
        is_known = label in settings and not labels.is_tuned(
            settings[label].weighting
        )
        lists = values if isinstance(values, Mapping) else {"": None}
        if not is_known or not all(
            isinstance(x, Iterable)
            and not isinstance(x, str)
            and 0 < len(list(x)) == len(set(map(str, x)))
            for x in lists.values()
        ):
            raise ValueError(
                "Expected `parameters` to be a dict of label to a dict of "
                "parameter to a list of different values, such as "
                '{"cagrad": {"c": [0.2, 0.4]}}. '
                f"The labels are {list(settings)}. "
                f"Received: {name!r}: {values!r}"
            )
        checked[label] = {x: list(y) for x, y in lists.items()}
    return checked


def checked_rates(rates: Sequence[float]) -> list[float]:
    """Returns the learning rates in increasing order."""
    expected = (
        f"{MIN_RATES} or more different positive numbers, to find the best one "
        "between two others"
    )
    numbers = checks.numbers_of(
        "learning_rates", rates, expected, lambda x: x > 0
    )
    if len(set(numbers)) < MIN_RATES:
        raise ValueError(
            f"Expected `learning_rates` to be {expected}. "
            f"Received: learning_rates={rates}"
        )
    return sorted(set(numbers))


def _checked_range(weight_range: Sequence[float]) -> list[float]:
    expected = "the lowest and the highest weight, both positive"
    ends = checks.numbers_of(
        "weight_range", weight_range, expected, lambda x: x > 0
    )
    if len(ends) != 2 or ends[0] >= ends[1]:
        raise ValueError(
            f"Expected `weight_range` to be {expected}. "
            f"Received: weight_range={weight_range}"
        )
    return ends
