from typing import Any

import keras
from keras import ops

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_mtl")
class AtomUpdate(keras.layers.Layer):
    """Updates the states of atoms by the messages that they got, with a GRU.

    Call arguments:
        messages: Of shape `(batch, atoms, units)`.
        states: Of that shape.

    Output shape: `(batch, atoms, units)`.
    """

    def build(self, messages_shape: tuple, states_shape: tuple) -> None:
        self.cell = keras.layers.GRUCell(
            states_shape[-1], dtype=self.dtype_policy, name="cell"
        )
        self.cell.build((None, messages_shape[-1]))

    def call(self, messages: Tensor, states: Tensor) -> Tensor:
        # A cell takes one axis of examples: here, each atom is one.
        updated, _ = self.cell(
            ops.reshape(messages, (-1, messages.shape[-1])),
            [ops.reshape(states, (-1, states.shape[-1]))],
        )
        return ops.reshape(updated, ops.shape(states))

    def compute_output_shape(
        self, messages_shape: tuple, states_shape: tuple
    ) -> tuple:
        return states_shape
