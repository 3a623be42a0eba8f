from typing import Any

import keras

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_mtl")
class FeatureModulation(keras.layers.Layer):
    """Scales and shifts each channel, at first by 1 and 0.

    Call arguments:
        x: Of shape `(batch, ..., channels)`.

    Output shape: that of `x`.

    Reference:
        [Perez et al., 2018](https://arxiv.org/abs/1709.07871), equation 2.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True

    def build(self, x_shape: tuple) -> None:
        shape = (x_shape[-1],)
        self.gamma = self.add_weight(
            name="gamma", shape=shape, initializer="ones"
        )
        self.beta = self.add_weight(
            name="beta", shape=shape, initializer="zeros"
        )

    def call(self, x: Tensor) -> Tensor:
        return x * self.gamma + self.beta

    def compute_output_shape(self, x_shape: tuple) -> tuple:
        return x_shape
