from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

from keras import layers

from keras_mtl.backend.scenes import SCENE_TASKS
from keras_mtl.backend.scenes import scene_tasks
from keras_mtl.models.scene_layers import batch_norm
from keras_mtl.models.scene_layers import convolution
from keras_mtl.models.scene_layers import convolution_layer
from keras_mtl.models.scene_layers import decoder
from keras_mtl.models.scene_layers import encoder
from keras_mtl.models.scene_layers import image_input
from keras_mtl.models.scene_layers import scene_head

Tensor = Any


def mtan_seg_net(
    tasks: Iterable[str] = SCENE_TASKS,
    shape: Sequence[int] = (288, 384, 3),
    widths: Sequence[int] = (64, 128, 256, 512, 512),
    classes: int = 13,
) -> tuple[Tensor, dict[str, Tensor]]:
    """MTAN: a SegNet that all tasks share, and attention for each task.

    At each level, a task has a mask between 0 and 1 for the features of the
    shared SegNet. The mask is made of those features and of what the task chose
    at the level before. The convolutions that pass this on (f in the paper) are
    shared by the tasks, those that make masks (g and h) are not.

    The boundary between trunk and heads is the features of SegNet. A layer f is
    called in each head: its weights are shared, though they are not of the
    trunk, and `gradients="features"` does not see them.

    As in the official code, a bilinear upsampling precedes each f of the
    decoder. It is Keras's, which does not align the corners. With the default
    widths and all three tasks, the network has 44,229,073 trained weights.

    Example:

    ```python
    model = keras_mtl.MultiTaskModel(*keras_mtl.models.mtan_seg_net())
    ```

    Args:
        tasks: See `seg_net`.
        shape: See `seg_net`.
        widths: Channels of each level of the encoder, the last two the same.
        classes: Number of classes of the segmentation.

    Returns:
        `(inputs, outputs)`, as those of `seg_net`.

    Raises:
        ValueError: See `seg_net`.

    Reference:
        [Liu et al., 2019](https://arxiv.org/abs/1803.10704), MTAN.
    """
    names = scene_tasks(tasks)
    image = image_input(shape, widths)
    down, pooled, places = encoder(image, widths)
    up = decoder(pooled, widths, places)
    passes_down = [
        _passing(width, f"attention_encoder_{i}")
        for i, width in enumerate([*widths[1:], widths[-1]])
    ]
    # The decoder goes from the coarsest level to the finest.
    passes_up = [
        _passing(after.shape[-1], f"attention_decoder_{i}")
        for i, (_, after) in zip(reversed(range(len(widths))), up)
    ]
    outputs = {}
    for task in names:
        x = None
        for i, ((first, last), pass_on) in enumerate(zip(down, passes_down)):
            x = first if x is None else _joined(first, x)
            x = pass_on(_masked(last, x, f"{task}_encoder_{i}"))
            x = layers.MaxPooling2D(data_format="channels_last")(x)
        for i, ((unpooled, last), pass_on) in enumerate(zip(up, passes_up)):
            x = layers.UpSampling2D(
                interpolation="bilinear", data_format="channels_last"
            )(x)
            x = _joined(unpooled, pass_on(x))
            x = _masked(last, x, f"{task}_decoder_{len(up) - 1 - i}")
        outputs[task] = scene_head(task, x, widths[0], classes)
    return image, outputs


def _passing(width, name):
    """Returns the function f of one level, whose layers all tasks call."""
    convolve = convolution_layer(width, 3, name)
    norm = batch_norm(f"{name}_norm")
    return lambda x: layers.ReLU()(norm(convolve(x)))


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
