from typing import Any

import keras
from keras import ops

from keras_mtl.backend.checks import non_negative

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_mtl")
class GradientReversal(keras.layers.Layer):
    """Returns its input, and reverses the gradient on its way back.

    What is trained on its output learns to predict, and what is before it
    learns to make that fail.

    Args:
        factor: What the gradient is multiplied by, beside −1.

    Call arguments:
        x: Tensor of any shape.

    Output shape: that of `x`.

    Example:

    >>> keras_mtl.architectures.GradientReversal()(np.array([[1.0, 2.0]]))
    array([[1., 2.]], dtype=float32)

    Reference:
        [Ganin and Lempitsky, 2015](https://arxiv.org/abs/1409.7495).
    """

    def __init__(self, factor: float = 1.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.factor = non_negative("factor", factor)
        self.supports_masking = True

    def call(self, x: Tensor) -> Tensor:
        return with_reversed_gradient(x, self.factor)

    def compute_output_shape(self, x_shape: tuple) -> tuple:
        return x_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor}


def with_reversed_gradient(x: Tensor, factor: float = 1.0) -> Tensor:
    """Returns `x`, with the gradient times `-factor`."""
    fixed = ops.stop_gradient(x)
    # The difference is exactly 0 and has the negative gradient.
    return fixed + factor * (fixed - x)
