"""The base class of the callbacks that compare results with a baseline."""

import math
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras

from keras_mtl import metrics
from keras_mtl.callbacks.arguments import check_model
from keras_mtl.losses.directions import check_keys
from keras_mtl.losses.directions import higher_keys


class AgainstBaseline(keras.callbacks.Callback):
    """Base class of the callbacks that compare results with a baseline.

    Args:
        baseline: Dict of the results of the baseline, as
            `evaluate(return_dict=True)` returns them, without `val_`.
        higher_is_better: As of `DeltaM`.

    Raises:
        ValueError: As `DeltaM`.
    """

    def __init__(
        self,
        baseline: Mapping[str, float],
        higher_is_better: Sequence[str] | Mapping[str, bool] | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(baseline, Mapping) or not baseline:
            raise ValueError(
                "Expected `baseline` to be a dict of results, such as "
                '{"seg_loss": 0.5, "depth_mae": 0.2}. Received: '
                f"baseline={baseline!r}"
            )
        self.baseline = {k: float(v) for k, v in baseline.items()}
        # It says what is wrong with a value.
        metrics.delta_m(self.baseline, self.baseline)
        self.higher_is_better = higher_is_better
        self._higher: list[str] = []

    def on_train_begin(self, logs: Any = None) -> None:
        check_model(self, self.model)
        keys = list(self.baseline)
        check_keys(keys, self.model, "baseline")
        self._higher = higher_keys(self.higher_is_better, keys, self.model)

    def _results(self, logs, prefix):
        """Returns what the logs have of the baseline's keys, or `None`."""
        results = {k: (logs or {}).get(f"{prefix}{k}") for k in self.baseline}
        # With `validation_freq`, there are epochs without results.
        if None in results.values():
            return None
        return {k: float(v) for k, v in results.items()}

    def _change_of(self, results, keys):
        """Returns the mean relative change of some results, in percent.

        It is NaN where one of them is not finite.
        """
        if not all(math.isfinite(results[key]) for key in keys):
            return math.nan
        return metrics.delta_m(
            {key: results[key] for key in keys},
            {key: self.baseline[key] for key in keys},
            [key for key in keys if key in self._higher],
        )
