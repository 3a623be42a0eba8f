from typing import Any

import keras
from keras import ops

from keras_mtl.architectures.arguments import check_task_shape
from keras_mtl.backend.checks import non_negative
from keras_mtl.backend.checks import non_negative_integer

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_mtl")
class Orthogonality(keras.layers.Layer):
    """Makes a task's private features different from the shared ones.

    It adds `weight * ||Sᵀ H||²` to the model's losses, where the rows of `S`
    and `H` are the shared and the private features of the task's examples,
    scaled to unit length and divided by the square root of their number. (The
    paper has the features as they are: then the penalty grows with the square
    of the number of examples, and falls as all features become small.) The
    private features pass through unchanged.

    Args:
        index: Index of the task.
        weight: Factor of the loss, γ in the paper.

    Call arguments:
        private: Of shape `(batch, units)`.
        shared: Of shape `(batch, shared_units)`.
        task: Integers of shape `(batch, 1)`, the index of each example's task.

    Output shape: `(batch, units)`.

    Raises:
        ValueError: If `task` is of another shape.
    """

    def __init__(self, index: int, weight: float = 0.01, **kwargs: Any):
        super().__init__(**kwargs)
        self.index = non_negative_integer("index", index)
        self.weight = non_negative("weight", weight)

    def build(
        self, private_shape: tuple, shared_shape: tuple, task_shape: tuple
    ) -> None:
        check_task_shape(task_shape)

    def call(self, private: Tensor, shared: Tensor, task: Tensor) -> Tensor:
        # The length of a row of zeros is 0 in half precision, even if bounded.
        dtype = keras.backend.result_type(self.variable_dtype, "float32")
        is_own = ops.cast(task == self.index, dtype)
        count = ops.maximum(ops.sum(is_own), 1.0)
        products = ops.matmul(
            ops.transpose(_unit_rows(ops.cast(shared, dtype)) * is_own),
            _unit_rows(ops.cast(private, dtype)),
        )
        self.add_loss(self.weight * ops.sum(ops.square(products / count)))
        return private

    def compute_output_shape(
        self, private_shape: tuple, shared_shape: tuple, task_shape: tuple
    ) -> tuple:
        return private_shape

    def get_config(self) -> dict[str, Any]:
        config = {"index": self.index, "weight": self.weight}
        return {**super().get_config(), **config}


def _unit_rows(x):
    square = ops.sum(ops.square(x), axis=-1, keepdims=True)
    # After ReLU, a row may be zero.
    return x * ops.rsqrt(ops.maximum(square, 1e-12))
