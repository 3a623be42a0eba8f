import math
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from keras_mtl.architectures.arguments import prefixed
from keras_mtl.architectures.arguments import task_names
from keras_mtl.architectures.convolutions import batch_norm
from keras_mtl.architectures.convolutions import convolution
from keras_mtl.architectures.convolutions import convolution_layer

Tensor = Any


def mtan(
    encoder: Sequence[Any],
    tasks: Iterable[str],
    decoder: Sequence[Any] = (),
    name: str = "mtan",
) -> dict[str, Tensor]:
    """Attention of each task on the features of a shared convolutional network.

    At each level of the network, a task has a mask between 0 and 1 for the
    shared features. The mask is made of those features and of what the task
    chose at the level before. The convolutions that pass this on (f in the
    paper) are shared by the tasks, those that make masks (g and h) are not.

    Shared: the network that the user gives, and the convolutions f. These are
    called in each head: they are not of the trunk, and `gradients="features"`
    does not see them. Own: the convolutions g and h.

    Example:

    ```python
    image = keras.Input((64, 64, 3))
    encoder, x = [], image
    for width in (16, 32, 64):
        x = first = keras.layers.Conv2D(width, 3, 2, padding="same")(x)
        x = keras.layers.Conv2D(width, 3, padding="same")(x)
        encoder.append((first, x))
    features = keras_mtl.architectures.mtan(encoder, ["age", "smile"])
    outputs = {}
    for task, h in features.items():
        h = keras.layers.GlobalAveragePooling2D()(h)
        outputs[task] = keras.layers.Dense(1, name=task)(h)
    model = keras_mtl.MultiTaskModel(image, outputs)
    ```

    Args:
        encoder: The levels of an encoder of the user's, the finest first: for
            each the first and the last tensor, or one tensor that is both, of
            shape `(batch, height, width, channels)`.
        tasks: Names of the tasks.
        decoder: The levels of a decoder, the coarsest first, for outputs with
            a value per pixel; each as in `encoder`. Without one, a task has
            the features of the encoder's last level.
        name: See `mmoe`.

    Returns:
        Dict of task to symbolic tensor, of the shape of the last level.

    Raises:
        ValueError: `tasks` are no different names, a level is no pair of
            images, or the sides of a level are no divisor or multiple of those
            of the level before.

    Reference:
        [Liu et al., 2019](https://arxiv.org/abs/1803.10704).
    """
    names = task_names(tasks)
    down = _levels("encoder", encoder)
    up = _levels("decoder", decoder, may_be_empty=True)
    attention = _Attention(down, up, name)
    return {task: attention(task) for task in names}


class _Attention:
    """The layers f that tasks share, and the pass of one task through all."""

    def __init__(self, down: list, up: list, name: str):
        self._down, self._up, self._name = down, up, name
        widths = [last.shape[-1] for _, last in down]
        # Between a level of the encoder and one of the decoder of the same
        # size, there is a smaller one, as in SegNet.
        self._has_bottom = bool(up) and _sides(up[0][0]) == _sides(down[-1][1])
        after = widths[1:] + widths[-1:] * self._has_bottom
        self._passes_down = [
            _passing(width, prefixed(name, f"attention_encoder_{i}"))
            for i, width in enumerate(after)
        ]
        # The finest level has the number 0, as that of the encoder.
        self._places = list(reversed(range(len(up))))
        self._passes_up = [
            _passing(last.shape[-1], prefixed(name, f"attention_decoder_{i}"))
            for i, (_, last) in zip(self._places, up)
        ]

    def __call__(self, task: str) -> Tensor:
        x = None
        name = prefixed(self._name, f"{task}_encoder")
        for i, (first, last) in enumerate(self._down):
            if x is not None:
                x = _pooled(self._passes_down[i - 1](x), first)
                first = _joined(first, x)
            x = _masked(last, first, f"{name}_{i}")
        if self._has_bottom:
            x = _pooled(self._passes_down[-1](x))
        name = prefixed(self._name, f"{task}_decoder")
        levels = zip(self._places, self._up, self._passes_up)
        for i, (first, last), pass_on in levels:
            x = pass_on(_enlarged(x, first))
            x = _masked(last, _joined(first, x), f"{name}_{i}")
        return x


def _levels(name, levels, may_be_empty=False):
    """Returns a list of pairs of tensors."""
    is_tensor = isinstance(levels, keras.KerasTensor)
    if is_tensor or not isinstance(levels, Iterable):
        raise ValueError(
            f"Expected `{name}` to be a list of levels. Received: "
            f"{name}={levels!r}"
        )
    pairs = [x if isinstance(x, (list, tuple)) else (x, x) for x in levels]
    for pair in pairs:
        is_pair = len(pair) == 2 and all(map(_is_image, pair))
        if not is_pair or _sides(pair[0]) != _sides(pair[1]):
            raise ValueError(
                f"Expected the levels of `{name}` to be symbolic tensors of "
                "shape (batch, height, width, channels), or pairs of the first "
                f"and the last tensor of a level. Received: {pair}"
            )
    if not pairs and not may_be_empty:
        raise ValueError(
            f"Expected `{name}` to have at least one level. Received: []"
        )
    return pairs


def _is_image(x):
    is_tensor = isinstance(x, keras.KerasTensor) and len(x.shape) == 4
    return is_tensor and x.shape[-1] is not None


def _sides(x):
    return tuple(x.shape[1:3])


def _passing(width, name):
    """Returns the function f of one level, whose layers all tasks call."""
    convolve = convolution_layer(width, 3, name)
    norm = batch_norm(f"{name}_norm")
    return lambda x: layers.ReLU()(norm(convolve(x)))


def _pooled(x, like=None):
    """Makes an image as small as another one, or half as large."""
    large, small = _sides(x), (None, None) if like is None else _sides(like)
    # Sides that are not known are taken to be halved.
    factors = [
        max(1, round(n / m)) if n and m else 2 for n, m in zip(large, small)
    ]
    known = [(n / f, m) for n, f, m in zip(large, factors, small) if n and m]
    paddings = [
        padding
        for padding, rounded in (("valid", math.floor), ("same", math.ceil))
        if all(rounded(n) == m for n, m in known)
    ]
    if not paddings:
        raise _sides_error(x, like)
    if factors == [1, 1]:
        return x
    return layers.MaxPooling2D(
        tuple(factors), padding=paddings[0], data_format="channels_last"
    )(x)


def _enlarged(x, like):
    """Makes an image as large as another one."""
    factors = []
    for small, large in zip(_sides(x), _sides(like)):
        # Sides that are not known are taken to be doubled.
        factor = large // small if large and small else 2
        factors.append(factor)
        if large and small and factor * small != large:
            raise _sides_error(x, like)
    if factors == [1, 1]:
        return x
    return layers.UpSampling2D(
        tuple(factors), interpolation="bilinear", data_format="channels_last"
    )(x)


def _sides_error(x, like):
    return ValueError(
        "Expected the sides of the levels to be divided from one level of the "
        "encoder to the next, and multiplied from one of the decoder to the "
        f"next. Received: {_sides(x)} and then {_sides(like)}"
    )


def _joined(x, y):
    return layers.Concatenate(axis=-1)([x, y])


def _masked(features, x, name):
    """Multiplies the shared features by the mask that `x` makes."""
    width = features.shape[-1]
    x = convolution(x, width, 1, f"{name}_g")
    x = layers.ReLU()(batch_norm(f"{name}_g_norm")(x))
    x = convolution(x, width, 1, f"{name}_h")
    mask = layers.Activation("sigmoid")(batch_norm(f"{name}_h_norm")(x))
    return layers.Multiply()([mask, features])
