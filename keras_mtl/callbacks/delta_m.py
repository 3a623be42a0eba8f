"""Logs Δm on the validation data."""

import warnings
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from keras_mtl.callbacks.against_baseline import AgainstBaseline
from keras_mtl.training.epoch_warnings import warn_without_labels


class DeltaM(AgainstBaseline):
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
        super().__init__(baseline, higher_is_better)
        self._has_logged = False
        self._zero_losses: set[str] = set()

    def on_train_begin(self, logs: Any = None) -> None:
        super().on_train_begin(logs)
        self._has_logged = False
        losses = {f"{task}_loss" for task in self.model.tasks}
        self._zero_losses = losses & set(self.baseline)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        results = self._results(logs, "val_")
        if logs is None or results is None:
            return
        self._has_logged = True
        self._zero_losses = {k for k in self._zero_losses if results[k] == 0}
        logs["val_delta_m"] = self._change_of(results, list(self.baseline))

    def on_train_end(self, logs: Any = None) -> None:
        if not self._has_logged:
            warnings.warn(
                "`DeltaM` has logged nothing: there were no validation "
                "results. Type `fit(..., validation_data=(x, y))`.",
                stacklevel=2,
            )
        else:
            warn_without_labels(f"val_{key}" for key in self._zero_losses)
