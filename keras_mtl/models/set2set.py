from typing import Any

import keras
from keras import ops

from keras_mtl.backend.checks import positive_integer

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_mtl")
class Set2Set(keras.layers.Layer):
    """Reads a set with attention, in an order that does not matter.

    In each step, an LSTM makes a query of the last query and what it read; the
    next reading is the mean of the set, weighted by the softmax of the products
    with the query.

    Args:
        steps: Number of readings.

    Call arguments:
        states: Of shape `(batch, atoms, units)`.
        atoms: Atomic numbers of shape `(batch, atoms)`, zero for padding, which
            is not read.

    Output shape: `(batch, 2 * units)`, the last query and reading.

    Reference:
        [Vinyals et al., 2016](https://arxiv.org/abs/1511.06391), section 4.
    """

    def __init__(self, steps: int = 3, **kwargs: Any):
        super().__init__(**kwargs)
        self.steps = positive_integer("steps", steps)

    def build(self, states_shape: tuple, atoms_shape: tuple) -> None:
        units = states_shape[-1]
        self.cell = keras.layers.LSTMCell(
            units, dtype=self.dtype_policy, name="cell"
        )
        self.cell.build((states_shape[0], 2 * units))

    def call(self, states: Tensor, atoms: Tensor) -> Tensor:
        real = atoms > 0
        query = ops.zeros_like(states[:, 0])
        memory = [query, query]
        read = ops.concatenate([query, query], axis=-1)
        for _ in range(self.steps):
            query, memory = self.cell(read, memory)
            scores = ops.sum(states * query[:, None, :], axis=-1)
            # Half precision has no number below this one.
            scores = ops.where(real, scores, -6e4)
            weights = ops.softmax(scores, axis=-1)
            reading = ops.matmul(weights[:, None, :], states)[:, 0]
            read = ops.concatenate([query, reading], axis=-1)
        return read

    def compute_output_shape(
        self, states_shape: tuple, atoms_shape: tuple
    ) -> tuple:
        return states_shape[0], 2 * states_shape[-1]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "steps": self.steps}
