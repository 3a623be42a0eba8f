from typing import Any

import keras
from keras import ops

from keras_mtl.backend.checks import positive_integer
from keras_mtl.models.distances import distances

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_mtl")
class PairFeatures(keras.layers.Layer):
    """The hidden layer of the edge network: a dense layer of each distance.

    An atom's pairs with its neighbors are divided by their number, so that the
    sum over the last axis is a mean. All other atoms of the molecule are
    neighbors.

    Args:
        units: Width of the layer.

    Call arguments:
        atoms: Atomic numbers of shape `(batch, atoms)`, zero for padding.
        positions: In angstrom, of shape `(batch, atoms, 3)`.

    Output shape: `(batch, atoms, units + 1, atoms)`, as of `DistanceExpansion`.
        The last of the features is what a bias is multiplied by. It is zero
        for padding, and for an atom with itself.
    """

    def __init__(self, units: int = 128, **kwargs: Any):
        super().__init__(**kwargs)
        self.units = positive_integer("units", units)

    def build(self, atoms_shape: tuple, positions_shape: tuple) -> None:
        # With biases of zero, all of it would be linear in the distance.
        uniform = keras.initializers.RandomUniform(-1, 1)
        self.kernel = self.add_weight((self.units, 1), uniform, name="kernel")
        uniform = keras.initializers.RandomUniform(-1, 1)
        self.bias = self.add_weight((self.units, 1), uniform, name="bias")

    def call(self, atoms: Tensor, positions: Tensor) -> Tensor:
        lengths, neighbors = distances(atoms, positions)
        hidden = lengths[:, :, None, :] * self.kernel + self.bias
        hidden = ops.relu(hidden)
        weights = ops.cast(neighbors, hidden.dtype)[:, :, None, :]
        count = ops.sum(weights, axis=-1, keepdims=True)
        weights = weights / ops.maximum(count, 1.0)
        return ops.concatenate([hidden * weights, weights], axis=2)

    def compute_output_shape(
        self, atoms_shape: tuple, positions_shape: tuple
    ) -> tuple:
        return *atoms_shape, self.units + 1, atoms_shape[1]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}
