from typing import Any

import keras
from keras import ops

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_mtl")
class MaxUnpooling(keras.layers.Layer):
    """Puts values back to where `MaxPooling` took the largest ones.

    All other values are zero.

    Example:

    >>> values = np.array([4.0]).reshape((1, 1, 1, 1))
    >>> places = np.array([2]).reshape((1, 1, 1, 1))
    >>> [int(x) for x in ops.ravel(MaxUnpooling()(values, places))]
    [0, 0, 4, 0]

    Call arguments:
        values: Of shape `(batch, height, width, channels)`.
        places: Integers from 0 to 3 of that shape, the places of the values in
            squares of two by two, by rows.

    Output shape: `(batch, 2 * height, 2 * width, channels)`.
    """

    def call(self, values: Tensor, places: Tensor) -> Tensor:
        corners = [
            ops.where(places == i, values, ops.zeros_like(values))
            for i in range(4)
        ]
        rows = [ops.stack(corners[:2], axis=3), ops.stack(corners[2:], axis=3)]
        batch, height, width, channels = ops.shape(values)
        return ops.reshape(
            ops.stack(rows, axis=2), (batch, 2 * height, 2 * width, channels)
        )

    def compute_output_shape(
        self, values_shape: tuple, places_shape: tuple
    ) -> tuple:
        batch, height, width, channels = values_shape
        return batch, 2 * height, 2 * width, channels
