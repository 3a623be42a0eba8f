from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_mtl.backend.checks import one_of
from keras_mtl.backend.checks import positive
from keras_mtl.backend.scenes import labelled_classes
from keras_mtl.backend.scenes import labelled_depths
from keras_mtl.backend.scenes import labelled_normals

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_mtl")
class PixelMean(keras.metrics.Mean):
    """Mean of a measure over the pixels that have a label.

    Missing is NaN, a negative class, a depth of 0 or a normal of zeros.

    Example:

    >>> metric = keras_mtl.metrics.PixelMean("relative_error")
    >>> y_true = np.array([2.0, 4.0, 0.0]).reshape((1, 1, 3, 1))
    >>> metric.update_state(y_true, np.full((1, 1, 3, 1), 3.0))
    >>> float(metric.result())
    0.375

    Args:
        measure: `"accuracy"` of classes, given one number for each;
            `"absolute_error"` or `"relative_error"` of depths; `"angle"`
            between unit vectors, in degrees; `"within"`, whether this angle is
            below `degrees`.
        degrees: See `"within"`.
    """

    def __init__(
        self,
        measure: str,
        degrees: float | None = None,
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(name=name or measure, **kwargs)
        self.measure = one_of("measure", measure, list(_MEASURES))
        is_within = measure == "within"
        self.degrees = positive("degrees", degrees, optional=not is_within)
        self.higher_is_better = measure in ("accuracy", "within")

    def update_state(
        self,
        y_true: Tensor,
        y_pred: Tensor,
        sample_weight: Tensor | None = None,
    ) -> None:
        """Adds pixels; `sample_weight` is a weight for each image or pixel."""
        y_true, y_pred = (
            ops.cast(y_true, self.dtype),
            ops.cast(y_pred, self.dtype),
        )
        values, present = _MEASURES[self.measure](y_true, y_pred)
        if self.measure == "within":
            values = ops.cast(values < self.degrees, self.dtype)
        weights = pixel_weights(present, sample_weight, self.dtype)
        super().update_state(values, weights)

    def get_config(self) -> dict[str, Any]:
        config = {"measure": self.measure, "degrees": self.degrees}
        return {**super().get_config(), **config}


def pixel_weights(
    present: Tensor, sample_weight: Tensor | None, dtype: str
) -> Tensor:
    """Returns 0 for pixels without a label, otherwise their weight."""
    weights = ops.cast(present, dtype)
    if sample_weight is None:
        return weights
    sample_weight = ops.cast(sample_weight, dtype)
    while len(sample_weight.shape) < len(weights.shape):
        sample_weight = ops.expand_dims(sample_weight, -1)
    if len(sample_weight.shape) > len(weights.shape):
        sample_weight = ops.squeeze(sample_weight, -1)
    return weights * sample_weight


def angles(y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the angles in degrees, and which have a label."""
    normals, present = labelled_normals(y_true)
    cosines = ops.sum(normals * y_pred, axis=-1)
    return ops.arccos(ops.clip(cosines, -1.0, 1.0)) * (180 / np.pi), present


def _accuracy(y_true, y_pred):
    labels, present = labelled_classes(y_true, y_pred)
    predicted = ops.cast(ops.argmax(y_pred, axis=-1), "int32")
    return ops.cast(predicted == labels, y_pred.dtype), present


def _absolute_error(y_true, y_pred):
    depths, present = labelled_depths(y_true, y_pred)
    return ops.abs(depths - y_pred)[..., 0], present[..., 0]


def _relative_error(y_true, y_pred):
    depths, present = labelled_depths(y_true, y_pred)
    return (ops.abs(depths - y_pred) / depths)[..., 0], present[..., 0]


_MEASURES: dict[str, Callable] = {
    "accuracy": _accuracy,
    "absolute_error": _absolute_error,
    "relative_error": _relative_error,
    "angle": angles,
    "within": angles,
}
