"""The best epoch of a run, by a validation result."""

import dataclasses
import math
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_mtl.benchmarking.setting import Setting
from keras_mtl.losses import directions
from keras_mtl.training.epoch_warnings import warn_without_labels

# A key of the history, or that and whether its "min" or "max" is best.
Select = str | tuple[str, str]

PREFIX = "val_"
DELTA_M = "val_delta_m"


def resolve(
    select: Select | None,
    model: Any,
    higher_is_better: Sequence[str] | Mapping[str, bool] | None,
    fitting: Mapping[str, Any],
) -> tuple[str, str] | None:
    """Returns the key and whether its "min" or "max" is best.

    Args:
        select: As of `benchmark`.
        model: Compiled `MultiTaskModel`.
        higher_is_better: As of `benchmark`.
        fitting: The arguments of `fit`.
    """
    if select is None:
        return None
    pair = (select, None) if isinstance(select, str) else tuple(select)
    key, mode = pair if len(pair) == 2 else (None, None)
    is_key = isinstance(key, str) and key.startswith(PREFIX)
    if not is_key or mode not in ("min", "max", None):
        raise ValueError(
            "Expected `select` to be a validation result of the history, such "
            'as "val_loss", or a pair of that and "min" or "max". '
            f"Received: select={select!r}"
        )
    _check_validation(fitting, select)
    if mode is None:
        mode = _mode(key, model, higher_is_better)
    return key, mode


def resolve_all(
    settings: Mapping[str, Setting],
    select: Select | None,
    model: Any,
    higher_is_better: Sequence[str] | Mapping[str, bool] | None,
    fitting: Mapping[str, Any],
) -> dict[str, Setting]:
    """Returns the settings, each with a `select` that is resolved or `None`."""
    return {
        label: dataclasses.replace(
            setting,
            select=resolve(
                setting.select or select, model, higher_is_better, fitting
            ),
        )
        for label, setting in settings.items()
    }


def has_validation(fitting: Mapping[str, Any]) -> bool:
    """Whether arguments of `fit` have validation data."""
    has = fitting.get("validation_data") is not None
    return has or bool(fitting.get("validation_split"))


def _check_validation(fitting: Mapping[str, Any], select: Select) -> None:
    if not has_validation(fitting):
        raise ValueError(
            "Expected `validation_data` or `validation_split`, since the best "
            "epoch is selected by them. Received: none of them, "
            f"select={select!r}"
        )


def _mode(
    key: str,
    model: Any,
    higher_is_better: Sequence[str] | Mapping[str, bool] | None,
) -> str:
    if key == DELTA_M:
        return "min"
    known = directions.results_of(model)
    if isinstance(higher_is_better, Mapping):
        known |= higher_is_better
    else:
        known |= dict.fromkeys(higher_is_better or (), True)
    is_higher_better = known.get(key.removeprefix(PREFIX))
    if is_higher_better is None:
        raise ValueError(
            "Expected `select` to say whether the lowest or the highest value "
            f'is best. Type select=("{key}", "max"), or "min". '
            f"Received: select={key!r}; what is known is "
            f"{[PREFIX + x for x, y in known.items() if y is not None]}"
        )
    return "max" if is_higher_better else "min"


def validation_results(logs: Mapping[str, Any]) -> dict[str, float]:
    """Returns those of the logs of an epoch, without their prefix."""
    return {
        key.removeprefix(PREFIX): float(value)
        for key, value in logs.items()
        if key.startswith(PREFIX)
    }


class BestEpoch(keras.callbacks.Callback):
    """Leaves the model with the weights of its best epoch.

    Those of the weighting are among them; the state of the optimizer is not.

    Args:
        key: Key of the logs.
        mode: "min" or "max".

    Attributes:
        epoch: Number of the best epoch, from 1.
        results: The validation results of that epoch, without `val_`.
    """

    def __init__(self, key: str, mode: str) -> None:
        super().__init__()
        self._key = key
        self._mode = mode

    def on_train_begin(self, logs: Any = None) -> None:
        self.epoch = 0
        self.results: dict[str, float] = {}
        self._best = math.inf
        self._weights: list[np.ndarray] = []
        self._known: list[str] = []
        losses = [f"{PREFIX}{task}_loss" for task in self.model.tasks]
        self._is_zero_loss = self._key in losses

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._known = list(logs)
        # With `validation_freq`, there are epochs without results.
        if self._key not in logs:
            return
        score = float(logs[self._key]) * (-1 if self._mode == "max" else 1)
        self._is_zero_loss &= score == 0
        if not self._weights or score < self._best or math.isnan(self._best):
            self.epoch, self._best = epoch + 1, score
            self.results = validation_results(logs)
            self._weights = self.model.get_weights()

    def on_train_end(self, logs: Any = None) -> None:
        if not self.epoch:
            known = [x for x in self._known if x.startswith(PREFIX)]
            raise ValueError(
                "Expected `select` to be a validation result of the history, "
                f"which are {known}. Received: select={self._key!r}"
            )
        if self._is_zero_loss:
            warn_without_labels([self._key])
        self.model.set_weights(self._weights)
        # They are not needed any more.
        self._weights = []
