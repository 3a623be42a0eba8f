from typing import Any

import keras
from keras import ops

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_mtl")
class AtomSum(keras.layers.Layer):
    """Sums the states of a molecule's atoms, leaving out the padding.

    A sum, not a mean: the energies and most other properties of QM9 grow with
    the molecule.

    Args:
        typical_atoms: Typical number of atoms in a molecule, by which the sum
            is divided.

    Call arguments:
        states: Of shape `(batch, atoms, units)`.
        atoms: Atomic numbers of shape `(batch, atoms)`, zero for padding.

    Output shape: `(batch, units)`.
    """

    def __init__(self, typical_atoms: float = 18, **kwargs: Any):
        super().__init__(**kwargs)
        self.typical_atoms = typical_atoms

    def call(self, states: Tensor, atoms: Tensor) -> Tensor:
        weights = ops.cast(atoms > 0, states.dtype) / self.typical_atoms
        return ops.matmul(weights[:, None, :], states)[:, 0]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "typical_atoms": self.typical_atoms}
