from collections.abc import Iterable

import keras

from keras_mtl.backend.scenes import SCENE_TASKS
from keras_mtl.backend.scenes import scene_tasks
from keras_mtl.models.depth_loss import DepthLoss
from keras_mtl.models.normal_loss import NormalLoss
from keras_mtl.models.segmentation_loss import SegmentationLoss

_LOSSES = {
    "segmentation": SegmentationLoss,
    "depth": DepthLoss,
    "normal": NormalLoss,
}


def scene_losses(
    tasks: Iterable[str] = SCENE_TASKS,
) -> dict[str, keras.losses.Loss]:
    """Returns the losses of the tasks of NYUv2, as in the code of MTAN.

    A pixel without a label is left out: NaN, as `datasets.nyuv2` has it, or
    what MTAN's files have, a class of -1, a depth of 0, a normal of zeros.

    Example:

    ```python
    model.compile("adam", loss=keras_mtl.models.scene_losses())
    ```

    Args:
        tasks: Some of `"segmentation"`, `"depth"` and `"normal"`.

    Returns:
        Dict of task to `SegmentationLoss`, `DepthLoss` or `NormalLoss`.

    Raises:
        ValueError: There is no such task.

    Reference:
        [Liu et al., 2019](https://arxiv.org/abs/1803.10704), equations 5 to 7.
    """
    return {task: _LOSSES[task]() for task in scene_tasks(tasks)}
