from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_mtl.backend.checks import boolean
from keras_mtl.backend.checks import fraction
from keras_mtl.backend.checks import non_negative_integer
from keras_mtl.backend.masks import common_mask

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_mtl")
class CrossStitchUnit(keras.layers.Layer):
    """What one task takes of the features of all tasks: a linear combination.

    It is one row of the paper's unit. A layer for each task, rather than one
    with all rows, leaves the rows to their tasks: the features before are what
    the tasks share, and the conflicts of their gradients are seen there.

    Args:
        index: Index of the task among the features.
        own: Factor of its own features at first; the others have
            `(1 - own) / (T - 1)` each.
        per_channel: Whether each channel has factors of its own.

    Call arguments:
        features: List of `T` tensors of one shape, `(batch, ..., channels)`.

    Output shape: that of one of the features.

    Raises:
        ValueError: If `index` is none of the features, or their shapes differ.

    Example:

    >>> unit = keras_mtl.architectures.CrossStitchUnit(0, own=0.75)
    >>> unit([np.array([[1.0, 2.0]]), np.array([[5.0, 6.0]])])
    array([[2., 3.]], dtype=float32)

    Reference:
        [Misra et al., 2016](https://arxiv.org/abs/1604.03539), equation 1.
    """

    def __init__(
        self,
        index: int,
        own: float = 0.9,
        per_channel: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.index = non_negative_integer("index", index)
        self.own = fraction("own", own)
        self.per_channel = boolean("per_channel", per_channel)

    def build(self, features_shape: Sequence[tuple]) -> None:
        count = len(features_shape)
        shapes = [tuple(shape) for shape in features_shape]
        if self.index >= count or len({*shapes}) > 1:
            raise ValueError(
                "Expected `features` to be a list of tensors of one shape, "
                f"of which index={self.index} is one. Received: features of "
                f"shapes {shapes}"
            )
        width = shapes[0][-1] if self.per_channel else 1
        self.factors = self.add_weight(
            name="factors",
            shape=(count, width),
            initializer=self._first_factors,
        )

    def _first_factors(self, shape: tuple, dtype: Any = None) -> Tensor:
        others = (1 - self.own) / max(1, shape[0] - 1)
        is_own = ops.arange(shape[0])[:, None] == self.index
        factors = ops.cast(ops.where(is_own, self.own, others), dtype)
        # `ops.broadcast_to` would return a view on PyTorch, in which no
        # optimizer can write.
        return factors * ops.ones(shape, dtype)

    def call(self, features: Sequence[Tensor]) -> Tensor:
        factors = ops.unstack(ops.convert_to_tensor(self.factors))
        return sum(w * x for w, x in zip(factors, features))

    def compute_mask(
        self, features: Sequence[Tensor], previous_mask: Sequence
    ) -> Any:
        return common_mask(previous_mask)

    def compute_output_shape(self, features_shape: Sequence[tuple]) -> tuple:
        return tuple(features_shape[0])

    def get_config(self) -> dict[str, Any]:
        config = {
            "index": self.index,
            "own": self.own,
            "per_channel": self.per_channel,
        }
        return {**super().get_config(), **config}
