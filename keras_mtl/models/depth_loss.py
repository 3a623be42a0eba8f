from typing import Any

import keras
from keras import ops

from keras_mtl.backend.keras_internals import set_keras_mask
from keras_mtl.backend.scenes import labelled_depths

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_mtl")
class DepthLoss(keras.losses.Loss):
    """Absolute error of the depth, at the pixels where it is known.

    The mean is over these pixels, as in the code of MTAN. A depth of 0 or NaN
    is none.

    Example:

    >>> loss = keras_mtl.models.DepthLoss()
    >>> y_true = np.array([2.0, 0.0]).reshape((1, 1, 2, 1))
    >>> float(loss(y_true, np.full((1, 1, 2, 1), 2.5)))
    0.5

    Call arguments:
        y_true: Of shape `(batch, height, width, 1)`, or without the last axis.
        y_pred: Of shape `(batch, height, width, 1)`.
    """

    def __init__(self, name: str = "depth_loss", **kwargs: Any):
        super().__init__(name=name, **kwargs)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        depths, present = labelled_depths(y_true, y_pred)
        values = ops.abs(depths - y_pred)[..., 0]
        set_keras_mask(values, present[..., 0])
        return values
