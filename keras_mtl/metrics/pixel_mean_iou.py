from typing import Any

import keras
from keras import ops

from keras_mtl.backend.scenes import labelled_classes
from keras_mtl.metrics.pixel_mean import pixel_weights

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_mtl")
class PixelMeanIoU(keras.metrics.MeanIoU):
    """Mean intersection over union of the classes of pixels that have one.

    It is of all images together, as in the code of Nash-MTL and IGB (the first
    code of MTAN has the mean over the images), over the classes that occur.

    Example:

    >>> metric = keras_mtl.metrics.PixelMeanIoU(2)
    >>> y_pred = np.array([[[[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]]])
    >>> metric.update_state(np.array([[[0, 1, -1]]]), y_pred)
    >>> float(metric.result())
    1.0

    Args:
        num_classes: Number of classes.
    """

    def __init__(
        self,
        num_classes: int,
        name: str | None = "mean_iou",
        dtype: Any = "float32",
    ):
        super().__init__(num_classes, name=name, dtype=dtype)

    def update_state(
        self,
        y_true: Tensor,
        y_pred: Tensor,
        sample_weight: Tensor | None = None,
    ) -> None:
        """Adds pixels; `sample_weight` is a weight for each image or pixel."""
        y_true = ops.convert_to_tensor(y_true)
        y_pred = ops.convert_to_tensor(y_pred)
        labels, present = labelled_classes(y_true, y_pred)
        present = ops.logical_and(present, labels < self.num_classes)
        labels = ops.where(present, labels, 0)
        predicted = ops.cast(ops.argmax(y_pred, axis=-1), "int32")
        weights = pixel_weights(present, sample_weight, self.dtype)
        size = self.num_classes
        # Keras's own way makes the matrix of integers of 64 bits.
        counts = ops.segment_sum(
            ops.reshape(weights, (-1,)),
            ops.reshape(labels * size + predicted, (-1,)),
            size * size,
        )
        self.total_cm.assign_add(ops.reshape(counts, (size, size)))

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "dtype": self.dtype,
            "num_classes": self.num_classes,
        }
