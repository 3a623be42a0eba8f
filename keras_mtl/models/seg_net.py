from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

from keras_mtl.backend.scenes import SCENE_TASKS
from keras_mtl.backend.scenes import scene_tasks
from keras_mtl.models.scene_layers import decoder
from keras_mtl.models.scene_layers import encoder
from keras_mtl.models.scene_layers import image_input
from keras_mtl.models.scene_layers import scene_head

Tensor = Any


def seg_net(
    tasks: Iterable[str] = SCENE_TASKS,
    shape: Sequence[int] = (288, 384, 3),
    widths: Sequence[int] = (64, 128, 256, 512, 512),
    classes: int = 13,
) -> tuple[Tensor, dict[str, Tensor]]:
    """SegNet, which all tasks share, with the three heads of NYUv2.

    The network of the IGB paper's Table 1, as in the code of MTAN ("split").
    The decoder puts what it gets back to the places at which the encoder found
    the largest values. A head is a convolution of three by three and one of one
    by one, with nothing between them.

    With the default widths and the segmentation alone, it has 24,981,069
    trained weights. A narrower one, such as `widths=(16, 32, 64, 128, 128)`,
    has a sixteenth of them.

    Example:

    ```python
    model = keras_mtl.MultiTaskModel(*keras_mtl.models.seg_net())
    model.compile(
        keras.optimizers.Adam(1e-4),
        loss=keras_mtl.models.scene_losses(),
        metrics=keras_mtl.metrics.scene_metrics(),
    )
    ```

    Args:
        tasks: Some of `"segmentation"`, `"depth"` and `"normal"`: one of them
            for a model of a single task.
        shape: Height, width and channels of the images. 32 must divide height
            and width with the default `widths`, which halve them five times.
        widths: Channels of each level of the encoder.
        classes: Number of classes of the segmentation.

    Returns:
        `(inputs, outputs)`, the arguments of a Functional model. `inputs` is
        the image, of shape `(batch, height, width, channels)`. `outputs` has
        `"segmentation"`, logits of shape `(batch, height, width, classes)`;
        `"depth"`, of shape `(batch, height, width, 1)`; and `"normal"`, unit
        vectors, of shape `(batch, height, width, 3)`.

    Raises:
        ValueError: There is no such task, or the sides of the image cannot be
            halved as often.

    References:

    - [Badrinarayanan et al., 2017](https://arxiv.org/abs/1511.00561), SegNet.
    - [Liu et al., 2019](https://arxiv.org/abs/1803.10704), MTAN, the heads.
    """
    names = scene_tasks(tasks)
    image = image_input(shape, widths)
    _, pooled, places = encoder(image, widths)
    _, features = decoder(pooled, widths, places)[-1]
    return image, {
        task: scene_head(task, features, widths[0], classes) for task in names
    }
