from collections.abc import Iterable

import keras

from keras_mtl.backend.scenes import SCENE_TASKS
from keras_mtl.backend.scenes import scene_tasks
from keras_mtl.metrics.median_angle import MedianAngle
from keras_mtl.metrics.pixel_mean import PixelMean
from keras_mtl.metrics.pixel_mean_iou import PixelMeanIoU


def scene_metrics(
    tasks: Iterable[str] = SCENE_TASKS, classes: int = 13
) -> dict[str, list[keras.metrics.Metric]]:
    """Returns the nine metrics of NYUv2, those of the IGB paper's Table 1.

    - `"segmentation"`: `mean_iou` and `pixel_accuracy`, both up to 1.
    - `"depth"`: `absolute_error`, in the unit of the labels, and
      `relative_error`.
    - `"normal"`: `mean_angle` and `median_angle`, in degrees; and `within_11`,
      `within_22` and `within_30`, the shares of the pixels that are less than
      11.25, 22.5 and 30 degrees off.

    All are over the pixels with a label, of all batches together. (The official
    codes average depth and normals batch by batch.) Each knows whether higher
    is better, which `keras_mtl.benchmark` and `callbacks.DeltaM` ask.

    Example:

    ```python
    model.compile(
        "adam",
        loss=keras_mtl.models.scene_losses(),
        metrics=keras_mtl.metrics.scene_metrics(),
    )
    ```

    Args:
        tasks: Some of `"segmentation"`, `"depth"` and `"normal"`.
        classes: Number of classes of the segmentation.

    Returns:
        Dict of task to new metrics, for `compile`.

    Raises:
        ValueError: There is no such task.

    Reference:
        [Dai et al., 2023](https://proceedings.mlr.press/v216/dai23a.html),
        Table 1.
    """
    names = scene_tasks(tasks)
    metrics: dict[str, list] = {
        "segmentation": [
            PixelMeanIoU(classes),
            PixelMean("accuracy", name="pixel_accuracy"),
        ],
        "depth": [PixelMean("absolute_error"), PixelMean("relative_error")],
        "normal": [
            PixelMean("angle", name="mean_angle"),
            MedianAngle(),
            *(
                PixelMean("within", degrees, name=f"within_{int(degrees)}")
                for degrees in (11.25, 22.5, 30.0)
            ),
        ],
    }
    return {name: metrics[name] for name in names}
