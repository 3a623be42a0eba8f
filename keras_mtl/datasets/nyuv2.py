"""NYUv2: segmentation, depth and surface normals of indoor scenes.

Reference:

- [Silberman et al., 2012](https://doi.org/10.1007/978-3-642-33715-4_54), the
  images and labels.
- [Liu et al., 2019](https://arxiv.org/abs/1803.10704), MTAN, the three tasks
  with 13 classes, and the layout of the files.
"""

import os
from pathlib import Path

import numpy as np

from keras_mtl.datasets.task_data import TaskData

TASKS = ("segmentation", "depth", "normal")
CLASSES = 13

_FILES = ("image", "label", "depth", "normal")


def load_data(
    data_dir: str | os.PathLike,
    validation: int = 197,
    images: int | None = None,
    seed: int = 0,
) -> TaskData:
    """Loads NYUv2 in MTAN's layout, as NumPy arrays.

    A pixel without a label is NaN, that is missing, for `MultiTaskModel`: void
    in the segmentation, depth 0, and a normal of zeros.

    The tasks share their inputs. Each split is a pair `(x, y)`; `x` are the
    images, float32 of shape `(n, height, width, 3)`, in [0, 1], and `y` a dict
    of float32 arrays:

    - `"segmentation"`: the class, from 0 to 12, shape `(n, height, width)`.
    - `"depth"`: in metres, shape `(n, height, width, 1)`.
    - `"normal"`: unit vectors, shape `(n, height, width, 3)`.

    Example:

    ```python
    train, validation, test = nyuv2.load_data("nyuv2")
    model.fit(*train, validation_data=validation)
    ```

    Args:
        data_dir: Folder with `{train,val}/{image,label,depth,normal}/<i>.npy`.
        validation: Number of the images in `val` that are the validation split,
            drawn at random; the others are the test split. 197 is that of Dai
            et al. (2023), 654 images are there in all.
        images: Number of images that are read of `train` and of `val`, or
            `None` for all.
        seed: Integer, draws the validation split.

    Returns:
        A `TaskData`, which unpacks to `(train, validation, test)`.

    Raises:
        FileNotFoundError: `data_dir` has no such files.
        ValueError: A split would be empty.
    """
    folder = Path(data_dir).expanduser()
    train = _read_split(folder / "train", images)
    rest = _read_split(folder / "val", images)
    count = len(rest[0])
    if not 0 < validation < count:
        raise ValueError(
            "Expected `validation` to leave an image for the test split. "
            f"Received: validation={validation} of {count} images"
        )
    order = np.random.default_rng(seed).permutation(count)
    return TaskData(
        train,
        _take(rest, order[:validation]),
        _take(rest, order[validation:]),
    )


def _take(split, indices):
    images, targets = split
    return images[indices], {task: y[indices] for task, y in targets.items()}


def _read_split(folder, count):
    # The numbers are compared, since the name "10.npy" comes before "9.npy".
    paths = sorted(
        (folder / "image").glob("*.npy"), key=lambda path: int(path.stem)
    )
    if not paths:
        raise FileNotFoundError(
            "Expected `data_dir` to be a folder with the files "
            "`{train,val}/{image,label,depth,normal}/<i>.npy`. "
            f"Received: data_dir={str(folder.parent)!r}, without images in "
            f"{folder.name!r}"
        )
    image, label, depth, normal = (
        np.stack(
            [
                np.load(folder / kind / p.name, allow_pickle=False)
                for p in paths[:count]
            ]
        ).astype("float32")
        for kind in _FILES
    )
    depth = depth.reshape(*label.shape, 1)
    has_normal = np.any(normal != 0, axis=-1, keepdims=True)
    return image, {
        "segmentation": np.where(label < 0, np.float32("nan"), label),
        "depth": np.where(depth == 0, np.float32("nan"), depth),
        "normal": np.where(has_normal, normal, np.float32("nan")),
    }
