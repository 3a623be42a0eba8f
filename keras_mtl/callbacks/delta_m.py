"""Logs Δm on the validation data."""

import math
import warnings
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras

from keras_mtl import metrics
from keras_mtl.callbacks.arguments import check_model
from keras_mtl.losses.directions import check_keys
from keras_mtl.losses.directions import higher_keys
from keras_mtl.training.epoch_warnings import warn_without_labels


class DeltaM(keras.callbacks.Callback):
    """Logs Δm against a baseline as `val_delta_m`, after each epoch.

    Δm is the mean relative change of the results for the worse, in percent, so
    lower is better. `ModelCheckpoint`, `EarlyStopping` and `ReduceLROnPlateau`
    can monitor it, which choose by the best network for all tasks together.
    They must come after it in the list of callbacks.

    Example:

    >>> inputs = keras.Input((2,))
    >>> features = keras.layers.Dense(2)(inputs)
    >>> outputs = {t: keras.layers.Dense(1)(features) for t in ("seg", "depth")}
    >>> model = keras_mtl.MultiTaskModel(inputs, outputs)
    >>> model.compile("sgd", "mse", weighting="dwa", run_eagerly=True)
    >>> x, y = np.ones((4, 2)), {"seg": np.zeros(4), "depth": np.ones(4)}
    >>> alone = {"seg_loss": 0.5, "depth_loss": 0.2}
    >>> history = model.fit(
    ...     x, y, validation_data=(x, y), epochs=2, verbose=0, callbacks=[
    ...         keras_mtl.callbacks.DeltaM(alone),
    ...         keras.callbacks.EarlyStopping("val_delta_m", mode="min"),
    ...     ])
    >>> len(history.history["val_delta_m"])
    2

    Args:
        baseline: Dict of the results of the baseline, as
            `evaluate(return_dict=True)` returns them, without `val_`. Those of
            models of one task each are usual. All of the dict counts the same.
        higher_is_better: List of the keys for which a higher value is better,
            or a dict of key to bool. By default it is known for the losses and
            for Keras' own metrics.

    Raises:
        ValueError: If a value of `baseline` is zero or not finite, or, when
            training begins, if a key is no result of the model, or it is not
            known whether a higher value of it is better.

    Reference:

    - [Dai et al., 2023](https://arxiv.org/abs/2307.15429), equation 5.
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
        self._has_logged = False
        self._zero_losses: set[str] = set()

    def on_train_begin(self, logs: Any = None) -> None:
        check_model(self, self.model)
        keys = list(self.baseline)
        check_keys(keys, self.model, "baseline")
        self._higher = higher_keys(self.higher_is_better, keys, self.model)
        self._has_logged = False
        losses = {f"{task}_loss" for task in self.model.tasks}
        self._zero_losses = losses & set(keys)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        results = {k: (logs or {}).get(f"val_{k}") for k in self.baseline}
        # With `validation_freq`, there are epochs without results.
        if logs is None or None in results.values():
            return
        self._has_logged = True
        values = {k: float(v) for k, v in results.items()}
        self._zero_losses = {k for k in self._zero_losses if values[k] == 0}
        if not all(map(math.isfinite, values.values())):
            logs["val_delta_m"] = math.nan
            return
        logs["val_delta_m"] = metrics.delta_m(
            values, self.baseline, self._higher
        )

    def on_train_end(self, logs: Any = None) -> None:
        if not self._has_logged:
            warnings.warn(
                "`DeltaM` has logged nothing: there were no validation "
                "results. Type `fit(..., validation_data=(x, y))`.",
                stacklevel=2,
            )
        else:
            warn_without_labels(f"val_{key}" for key in self._zero_losses)
