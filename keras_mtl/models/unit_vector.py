from typing import Any

import keras
from keras import ops

Tensor = Any

# The square of the length below which a vector is left shorter than 1.
_SMALLEST_SQUARE = 1e-6


@keras.saving.register_keras_serializable(package="keras_mtl")
class UnitVector(keras.layers.Layer):
    """Scales vectors to length 1, and leaves those of nearly 0 shorter.

    A vector of zeros has a finite gradient, which it has not in Keras's
    `UnitNormalization`: one pixel after ReLUs that are all zero would make the
    weights NaN.

    Example:

    >>> vectors = UnitVector()(np.array([[3.0, 4.0], [0.0, 0.0]]))
    >>> [round(float(x), 4) for x in ops.ravel(vectors)]
    [0.6, 0.8, 0.0, 0.0]

    Call arguments:
        vectors: Of shape `(..., size)`.

    Output shape: that of the vectors.
    """

    def call(self, vectors: Tensor) -> Tensor:
        square = ops.sum(ops.square(vectors), axis=-1, keepdims=True)
        return vectors * ops.rsqrt(ops.maximum(square, _SMALLEST_SQUARE))

    def compute_output_shape(self, vectors_shape: tuple) -> tuple:
        return vectors_shape
