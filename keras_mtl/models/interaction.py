from collections.abc import Callable
from typing import Any

import keras
from keras import ops

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_mtl")
class Interaction(keras.layers.Layer):
    """Lets every atom of a molecule receive messages from all the others.

    The message from atom `j` to atom `i` is `A(d_ij) h_j`, as in
    [neural message passing](https://arxiv.org/abs/1704.01212), section 5.1,
    with a matrix `A` that is linear in the Gaussians of the distance. The sum
    over `j` can then be taken first: one matrix product a molecule, and no
    hidden layer for each pair of atoms.

    Args:
        units: Width of the atoms' states, which the layer adds to.
        channels: Width to which a state is reduced before it is sent.
        activation: Activation of the received messages.
        typical_atoms: Typical number of atoms in a molecule. It scales the
            initial weights, so that the sum over the others is not too large.

    Call arguments:
        states: Of shape `(batch, atoms, units)`.
        distances: The output of `DistanceExpansion`, of shape
            `(batch, atoms, gaussians, atoms)`.

    Output shape: `(batch, atoms, units)`.
    """

    def __init__(
        self,
        units: int,
        channels: int = 16,
        activation: str | Callable = "silu",
        typical_atoms: float = 18,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.units = units
        self.channels = channels
        self.activation = keras.activations.get(activation)
        self.typical_atoms = typical_atoms
        self.send = keras.layers.Dense(
            channels,
            use_bias=False,
            kernel_initializer=keras.initializers.VarianceScaling(
                1 / typical_atoms, mode="fan_avg", distribution="uniform"
            ),
            dtype=self.dtype_policy,
            name="send",
        )
        self.receive = keras.layers.Dense(
            units, self.activation, dtype=self.dtype_policy, name="receive"
        )
        self.update = keras.layers.Dense(
            units, dtype=self.dtype_policy, name="update"
        )

    def build(self, states_shape: tuple, distances_shape: tuple) -> None:
        messages_shape = (
            *states_shape[:-1],
            distances_shape[2] * self.channels,
        )
        self.send.build(states_shape)
        self.receive.build(messages_shape)
        self.update.build(states_shape)

    def call(self, states: Tensor, distances: Tensor) -> Tensor:
        batch, atoms, gaussians, _ = ops.shape(distances)
        messages = ops.matmul(
            ops.reshape(distances, (batch, atoms * gaussians, atoms)),
            self.send(states),
        )
        messages = ops.reshape(
            messages, (batch, atoms, distances.shape[2] * self.channels)
        )
        return states + self.update(self.receive(messages))

    def compute_output_shape(
        self, states_shape: tuple, distances_shape: tuple
    ) -> tuple:
        return states_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "channels": self.channels,
            "activation": keras.activations.serialize(self.activation),
            "typical_atoms": self.typical_atoms,
        }
