from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from keras_mtl.models.tasks import classes_of

Tensor = Any


def le_net(
    tasks: Iterable[str] = ("left", "right"),
    shape: Sequence[int] = (28, 28, 1),
    classes: int | Mapping[str, int] = 10,
    kernels: Sequence[int] = (5, 5),
    head_units: int | None = 50,
    dropout: float = 0.5,
) -> tuple[Tensor, dict[str, Tensor]]:
    """A LeNet for MultiMNIST, with one head for each digit.

    As in MGDA's code: two convolutions, each with max pooling, and a dense
    layer are shared; a head is two dense layers. Dropout hides whole channels
    of the second convolution, and half of a head's hidden layer. (MGDA's code
    draws one mask of the channels for the whole batch.) It has 27,450 weights,
    of which the tasks share 21,330.

    That of Pareto MTL, which others took over, is
    `le_net(shape=(36, 36, 1), kernels=(9, 5), head_units=None, dropout=0.0)`.

    Example:

    ```python
    model = keras_mtl.MultiTaskModel(*keras_mtl.models.le_net())
    model.compile("adam", loss="sparse_categorical_crossentropy")
    ```

    Args:
        tasks: Names of the tasks.
        shape: Height, width and channels of the images.
        classes: Number of classes, of all tasks or by task.
        kernels: Sizes of the two convolutions, in pixels.
        head_units: Width of the hidden layer of a head, or `None` for a head
            of one layer.
        dropout: Share of the channels and of the hidden layers that is hidden
            in training.

    Returns:
        `(inputs, outputs)`, the arguments of a Functional model. `inputs` is
        the image, of shape `(batch, height, width, channels)`. `outputs` has,
        for each task, the probabilities of the classes, shape
        `(batch, classes)`.

    Raises:
        ValueError: `tasks` are no different names, or `classes` are of other
            tasks.

    References:

    - [Sener and Koltun, 2018](https://arxiv.org/abs/1810.04650), MGDA, whose
      tasks are the digits at the top left and at the bottom right.
    - [Lin et al., 2019](https://arxiv.org/abs/1912.12854), Pareto MTL.
    """
    classes = classes_of(tasks, classes)
    image = keras.Input(tuple(shape), name="image")
    x = _convolution(image, 10, kernels[0], "convolution_1")
    x = layers.ReLU()(_pooling(x))
    x = _convolution(x, 20, kernels[1], "convolution_2")
    if dropout:
        x = layers.SpatialDropout2D(dropout, data_format="channels_last")(x)
    x = layers.Flatten(data_format="channels_last")(layers.ReLU()(_pooling(x)))
    features = layers.Dense(50, "relu", name="features")(x)
    return image, {
        task: _head(task, features, count, head_units, dropout)
        for task, count in classes.items()
    }


def _convolution(x, filters, size, name):
    return layers.Conv2D(filters, size, data_format="channels_last", name=name)(
        x
    )


def _pooling(x):
    return layers.MaxPooling2D(data_format="channels_last")(x)


def _head(task, x, classes, units, dropout):
    if units is not None:
        x = layers.Dense(units, "relu", name=f"{task}_hidden")(x)
        x = layers.Dropout(dropout, name=f"{task}_dropout")(x)
    return layers.Dense(classes, "softmax", name=task)(x)
