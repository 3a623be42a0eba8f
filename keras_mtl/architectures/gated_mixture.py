from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_mtl.backend.masks import common_mask

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_mtl")
class GatedMixture(keras.layers.Layer):
    """The sum of what experts return, each times its gate.

    Call arguments:
        experts: List of `E` tensors of one shape, `(batch, ...)`.
        gates: Of shape `(batch, E)`.

    Output shape: that of one expert.

    Raises:
        ValueError: If there is another number of gates than of experts, or
            the shapes of the experts differ.

    Example:

    >>> experts = [np.array([[1.0, 2.0]]), np.array([[3.0, 6.0]])]
    >>> gates = np.array([[0.25, 0.75]])
    >>> keras_mtl.architectures.GatedMixture()(experts, gates)
    array([[2.5, 5.]], dtype=float32)
    """

    def build(self, experts_shape: Sequence[tuple], gates_shape: tuple) -> None:
        _check_shapes(experts_shape, gates_shape)

    def call(self, experts: Sequence[Tensor], gates: Tensor) -> Tensor:
        rank = len(experts[0].shape)
        stacked = ops.stack(list(experts), axis=1)
        shape = (-1, len(experts), *[1] * (rank - 1))
        return ops.sum(ops.reshape(gates, shape) * stacked, axis=1)

    def compute_mask(
        self, experts: Sequence[Tensor], previous_mask: Sequence
    ) -> Any:
        return common_mask(previous_mask)


def _check_shapes(experts, gates):
    experts = [tuple(shape) for shape in experts]
    gates = tuple(gates)
    if len({shape[1:] for shape in experts}) != 1:
        raise ValueError(
            "Expected `experts` to be a list of tensors of one shape. "
            f"Received: experts of shapes {experts}"
        )
    if len(gates) != 2 or gates[1] != len(experts):
        raise ValueError(
            f"Expected `gates` to be of shape {(None, len(experts))}, one for "
            f"each of {len(experts)} experts. Received: gates of shape {gates}"
        )
