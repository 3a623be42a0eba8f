from typing import Any

import keras
from keras import ops

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_mtl")
class EdgeConvolution(keras.layers.Layer):
    """NNConv: messages by a matrix that a network makes of each distance.

    Atom `i` receives `R h_i + mean_j A(d_ij) h_j + b` and ReLU. The matrix `A`
    is the last, linear layer of the edge network, so that the mean over `j` can
    be taken first: there is no matrix for each pair of atoms in the memory.

    Call arguments:
        states: Of shape `(batch, atoms, units)`.
        pairs: The output of `PairFeatures`, of shape
            `(batch, atoms, features, atoms)`.

    Output shape: `(batch, atoms, units)`.
    """

    def build(self, states_shape: tuple, pairs_shape: tuple) -> None:
        features, units = pairs_shape[2], states_shape[-1]
        bound = (features - 1) ** -0.5
        self.edges = self.add_weight(
            (features * units, units),
            keras.initializers.RandomUniform(-bound, bound),
            name="edges",
        )
        self.root = self.add_weight(
            (units, units), "glorot_uniform", name="root"
        )
        self.bias = self.add_weight((units,), "zeros", name="bias")

    def call(self, states: Tensor, pairs: Tensor) -> Tensor:
        batch, atoms, features, _ = ops.shape(pairs)
        units = states.shape[-1]
        messages = ops.matmul(
            ops.reshape(pairs, (batch, atoms * features, atoms)), states
        )
        messages = ops.reshape(messages, (batch, atoms, features * units))
        messages = ops.matmul(messages, self.edges)
        return ops.relu(messages + ops.matmul(states, self.root) + self.bias)

    def compute_output_shape(
        self, states_shape: tuple, pairs_shape: tuple
    ) -> tuple:
        return states_shape
