from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

from keras_mtl import architectures
from keras_mtl.backend.scenes import SCENE_TASKS
from keras_mtl.backend.scenes import scene_tasks
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

    It is `keras_mtl.architectures.mtan` on SegNet: at each level, a task has a
    mask between 0 and 1 for the shared features.

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
    features = architectures.mtan(down, names, up, name="")
    return image, {
        task: scene_head(task, features[task], widths[0], classes)
        for task in names
    }
