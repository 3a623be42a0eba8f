from typing import Any

import keras
from keras import ops

from keras_mtl.metrics.pixel_mean import angles
from keras_mtl.metrics.pixel_mean import pixel_weights

Tensor = Any

_BINS = 18000


@keras.saving.register_keras_serializable(package="keras_mtl")
class MedianAngle(keras.metrics.Metric):
    """Median of the angle between unit vectors, in degrees.

    It is of all pixels with a label (not NaN, and not zeros) of all batches,
    from a histogram in steps of 0.01 degrees, by which it may be off.

    Example:

    >>> metric = keras_mtl.metrics.MedianAngle()
    >>> y_true = np.array([[[[0.0, 0.0, 1.0]] * 3]])
    >>> y_pred = [[0.0, 0.0, 1.0], [0.0, 0.6, 0.8], [1.0, 0.0, 0.0]]
    >>> metric.update_state(y_true, np.array([[y_pred]]))
    >>> round(float(metric.result()), 1)
    36.9
    """

    higher_is_better = False

    def __init__(self, name: str = "median_angle", **kwargs: Any):
        super().__init__(name=name, **kwargs)
        self.histogram = self.add_variable((_BINS,), "zeros", name="histogram")

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
        values, present = angles(y_true, y_pred)
        weights = pixel_weights(present, sample_weight, self.dtype)
        bins = ops.floor(values * (_BINS / 180))
        # A prediction that is NaN is as wrong as can be.
        bins = ops.where(ops.isnan(bins), float(_BINS), bins)
        bins = ops.cast(ops.clip(bins, 0, _BINS - 1), "int32")
        self.histogram.assign_add(
            ops.segment_sum(
                ops.reshape(weights, (-1,)), ops.reshape(bins, (-1,)), _BINS
            )
        )

    def result(self) -> Tensor:
        """Returns the median, 0 while there are no pixels."""
        counts = ops.convert_to_tensor(self.histogram)
        below = ops.cumsum(counts)
        half = below[-1] / 2
        is_below = ops.cast(below < half, self.dtype)
        index = ops.sum(is_below)
        # The middle pixel is the same share of its bin as of the pixels there.
        is_there = ops.cast(
            ops.arange(_BINS) == ops.cast(index, "int32"), self.dtype
        )
        inside = ops.sum(counts * is_there)
        share = ops.divide_no_nan(half - ops.sum(counts * is_below), inside)
        return (index + share) * (180 / _BINS)
