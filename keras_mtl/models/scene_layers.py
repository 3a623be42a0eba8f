"""What the networks for scenes are made of."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from keras_mtl.architectures.convolutions import batch_norm
from keras_mtl.architectures.convolutions import convolution
from keras_mtl.backend.checks import positive_integer
from keras_mtl.models.max_pooling import MaxPooling
from keras_mtl.models.max_unpooling import MaxUnpooling
from keras_mtl.models.unit_vector import UnitVector

Tensor = Any


def image_input(shape: Sequence[int], widths: Sequence[int]) -> Tensor:
    """Makes the input; each of `widths` is going to halve the image."""
    for width in widths:
        positive_integer("widths", width)
    size = 2 ** len(widths)
    if len(shape) != 3 or not len(widths) or any(n % size for n in shape[:2]):
        raise ValueError(
            "Expected `shape` to be the height, width and channels of an "
            f"image, with sides that 2 ** len(widths) = {size} divides. "
            f"Received: shape={tuple(shape)}"
        )
    return keras.Input(tuple(shape), name="image")


def block(x: Tensor, width: int, name: str) -> Tensor:
    """Convolution, batch normalization and ReLU."""
    x = convolution(x, width, 3, name)
    return layers.ReLU(name=f"{name}_relu")(batch_norm(f"{name}_norm")(x))


def encoder(
    x: Tensor, widths: Sequence[int]
) -> tuple[list[tuple[Tensor, Tensor]], Tensor, list[Tensor]]:
    """The encoder of SegNet.

    Args:
        x: Symbolic image.
        widths: Channels of each level.

    Returns:
        Tuple of, for each level, the first and the last tensor before the
        pooling; the last pooled tensor; and the places that `MaxPooling` tells,
        for each level.
    """
    levels, places = [], []
    for i, width in enumerate(widths):
        first = x = block(x, width, f"encoder_{i}_0")
        for j in range(1, _depth(i)):
            x = block(x, width, f"encoder_{i}_{j}")
        levels.append((first, x))
        x, place = MaxPooling(name=f"pooling_{i}")(x)
        places.append(place)
    return levels, x, places


def decoder(
    x: Tensor, widths: Sequence[int], places: Sequence[Tensor]
) -> list[tuple[Tensor, Tensor]]:
    """The decoder of SegNet.

    Args:
        x: What the encoder pooled last.
        widths: Channels of each level of the encoder.
        places: What the encoder's poolings tell, for each level.

    Returns:
        For each level, from the coarsest, the tensor after the unpooling and
        the last one of the level.
    """
    levels = []
    for i in reversed(range(len(widths))):
        unpooled = MaxUnpooling(name=f"unpooling_{i}")(x, places[i])
        x, width = unpooled, widths[max(i - 1, 0)]
        for j in range(_depth(i)):
            x = block(x, width, f"decoder_{i}_{j}")
        levels.append((unpooled, x))
    return levels


def _depth(level):
    return 2 if level < 2 else 3


def scene_head(task: str, x: Tensor, width: int, classes: int) -> Tensor:
    """The head of a task of NYUv2, two convolutions."""
    channels = {"segmentation": classes, "depth": 1, "normal": 3}[task]
    is_normal = task == "normal"
    x = convolution(x, width, 3, f"{task}_hidden")
    x = convolution(x, channels, 1, "normal_vector" if is_normal else task)
    if is_normal:
        # In half precision, the square of a short vector is zero.
        dtype = keras.config.dtype_policy().variable_dtype
        x = UnitVector(dtype=dtype, name=task)(x)
    return x
