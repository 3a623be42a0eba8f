from typing import Any

import keras
from keras import ops

from keras_mtl.backend.keras_internals import set_keras_mask
from keras_mtl.backend.scenes import labelled_normals

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_mtl")
class NormalLoss(keras.losses.Loss):
    """One less the cosine between surface normals, where they are known.

    The mean is over these pixels, as in the code of MTAN. A normal of zeros or
    NaN is none. (MTAN's code takes one whose components add up to exactly zero
    for none, too.)

    Example:

    >>> loss = keras_mtl.models.NormalLoss()
    >>> y_true = np.array([[[[0.0, 0.6, 0.8], [0.0, 0.0, 0.0]]]])
    >>> y_pred = np.array([[[[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]]])
    >>> round(float(loss(y_true, y_pred)), 4)
    0.2

    Call arguments:
        y_true: Unit vectors of shape `(batch, height, width, 3)`.
        y_pred: Unit vectors of that shape.
    """

    def __init__(self, name: str = "normal_loss", **kwargs: Any):
        super().__init__(name=name, **kwargs)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        normals, present = labelled_normals(y_true)
        values = 1 - ops.sum(normals * y_pred, axis=-1)
        set_keras_mask(values, present)
        return values
