from typing import Any

import keras
from keras import ops

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_mtl")
class MaxPooling(keras.layers.Layer):
    """Takes the largest of each two by two values, and tells which it was.

    Of values that are equal it takes the first, by rows, and only that one gets
    a gradient.

    Example:

    >>> x = np.array([[1.0, 5.0], [7.0, 3.0]]).reshape((1, 2, 2, 1))
    >>> values, places = MaxPooling()(x)
    >>> float(values[0, 0, 0, 0]), int(places[0, 0, 0, 0])
    (7.0, 2)

    Call arguments:
        x: Of shape `(batch, height, width, channels)`, height and width even.

    Output: tuple of two tensors of shape
        `(batch, height / 2, width / 2, channels)`: the values, and integers
        from 0 to 3, their places in the squares, by rows. `MaxUnpooling` takes
        both.
    """

    def call(self, x: Tensor) -> tuple[Tensor, Tensor]:
        top, top_place = _larger(x[:, 0::2, 0::2], x[:, 0::2, 1::2], 0, 1)
        low, low_place = _larger(x[:, 1::2, 0::2], x[:, 1::2, 1::2], 2, 3)
        return _larger(top, low, top_place, low_place)


def _larger(first, second, first_place, second_place):
    is_second = second > first
    return (
        ops.where(is_second, second, first),
        ops.where(
            is_second,
            ops.cast(second_place, "int32"),
            ops.cast(first_place, "int32"),
        ),
    )
