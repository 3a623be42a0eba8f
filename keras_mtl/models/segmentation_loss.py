from typing import Any

import keras
from keras import ops

from keras_mtl.backend.keras_internals import set_keras_mask
from keras_mtl.backend.scenes import labelled_classes

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_mtl")
class SegmentationLoss(keras.losses.Loss):
    """Cross entropy of the classes of pixels, of those that have one.

    The mean is over the pixels with a label, as in the code of MTAN. A label
    that is negative or NaN is none.

    Example:

    >>> logits = np.log([[[[0.5, 0.5], [0.2, 0.8]]]])
    >>> loss = keras_mtl.models.SegmentationLoss()
    >>> round(float(loss(np.array([[[1, -1]]]), logits)), 4)
    0.6931

    Call arguments:
        y_true: Classes of shape `(batch, height, width)`.
        y_pred: Logits of shape `(batch, height, width, classes)`.
    """

    def __init__(self, name: str = "segmentation_loss", **kwargs: Any):
        super().__init__(name=name, **kwargs)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        labels, present = labelled_classes(y_true, y_pred)
        chosen = ops.one_hot(labels, y_pred.shape[-1], dtype=y_pred.dtype)
        values = -ops.sum(chosen * ops.log_softmax(y_pred, axis=-1), axis=-1)
        set_keras_mask(values, present)
        return values
