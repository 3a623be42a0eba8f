"""Convolutions as those in the code of MTAN."""

from typing import Any

import keras
from keras import layers

Tensor = Any


def convolution_layer(width: int, size: int, name: str) -> keras.layers.Layer:
    """Makes a convolution that begins as those in the code of MTAN."""
    return layers.Conv2D(
        width,
        size,
        padding="same",
        kernel_initializer="glorot_normal",
        data_format="channels_last",
        name=name,
    )


def convolution(x: Tensor, width: int, size: int, name: str) -> Tensor:
    """Applies a convolution."""
    return convolution_layer(width, size, name)(x)


def batch_norm(name: str) -> keras.layers.Layer:
    """Makes a batch normalization with PyTorch's constants."""
    return layers.BatchNormalization(
        axis=-1, momentum=0.9, epsilon=1e-5, name=name
    )
