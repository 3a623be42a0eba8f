from typing import Any

import keras
import numpy as np
from keras import ops

from keras_mtl.models.distances import distances

Tensor = Any


_DECAY_LENGTH = 2.0
_RELATIVE_WIDTH = 0.6
# The place of the pairs that do not count. It is further from every center than
# any real pair, so that the Gaussians and their gradients are exactly zero, and
# its square is finite.
_NOWHERE = 10.0


@keras.saving.register_keras_serializable(package="keras_mtl")
class DistanceExpansion(keras.layers.Layer):
    """Expands the distances within a molecule into Gaussians.

    The Gaussians are equally spaced in `exp(-distance / 2)`, with distances in
    angstrom, so that they are narrow where bonds are and wide far away
    (as in [PhysNet](https://arxiv.org/abs/1902.08408)). They have no weights.
    Since they see distances alone, whatever follows is invariant to
    translation, rotation and reflection of the molecule.

    Example:

    >>> atoms = np.array([[8, 1, 1, 0]])
    >>> positions = np.random.normal(size=(1, 4, 3))
    >>> DistanceExpansion(gaussians=16)(atoms, positions).shape
    (1, 4, 16, 4)

    Args:
        gaussians: Number of Gaussians.
        min_distance: Center of the nearest Gaussian, in angstrom.
        max_distance: Center of the furthest Gaussian, in angstrom.

    Call arguments:
        atoms: Atomic numbers of shape `(batch, atoms)`, zero for padding.
        positions: In angstrom, of shape `(batch, atoms, 3)`.

    Output shape: `(batch, atoms, gaussians, atoms)`, the layout in which a sum
        over the neighbors (the last axis) is one matrix product. It is zero
        for padding, and for an atom with itself.
    """

    def __init__(
        self,
        gaussians: int = 16,
        min_distance: float = 0.8,
        max_distance: float = 12.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if gaussians < 2:
            raise ValueError(
                "Expected `gaussians` to be at least 2. "
                f"Received: gaussians={gaussians}"
            )
        if not 0 <= min_distance < max_distance:
            raise ValueError(
                "Expected 0 <= `min_distance` < `max_distance`. Received: "
                f"min_distance={min_distance}, max_distance={max_distance}"
            )
        self.gaussians = gaussians
        self.min_distance = min_distance
        self.max_distance = max_distance
        low, high = np.exp(
            -np.array([max_distance, min_distance]) / _DECAY_LENGTH
        )
        centers, spacing = np.linspace(low, high, gaussians, retstep=True)
        self._scale = float(np.sqrt(0.5) / (_RELATIVE_WIDTH * spacing))
        self._centers = (centers * self._scale)[:, None]

    def call(self, atoms: Tensor, positions: Tensor) -> Tensor:
        lengths, neighbors = distances(atoms, positions)
        decay = ops.exp(lengths / -_DECAY_LENGTH)
        decay = ops.where(neighbors, decay, _NOWHERE) * self._scale
        centers = ops.convert_to_tensor(self._centers, decay.dtype)
        return ops.exp(-ops.square(decay[:, :, None, :] - centers))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "gaussians": self.gaussians,
            "min_distance": self.min_distance,
            "max_distance": self.max_distance,
        }
