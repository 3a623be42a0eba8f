"""NYUv2: segmentation, depth and surface normals of indoor scenes.

Reference:

- [Silberman et al., 2012](https://doi.org/10.1007/978-3-642-33715-4_54), the
  images and labels.
- [Liu et al., 2019](https://arxiv.org/abs/1803.10704), MTAN, the three tasks
  with 13 classes, and the layout of the files.
- [Dai et al., 2023](https://proceedings.mlr.press/v216/dai23a.html), IGB,
  section 4.1: a validation split.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_mtl.backend.files import reading
from keras_mtl.datasets.task_data import TaskData

TASKS = ("segmentation", "depth", "normal")
CLASSES = 13


class _Kind(NamedTuple):
    """What the arrays in one of the folders have.

    Attributes:
        channels: The last axes that they may have.
        values: What their values are.
        is_wrong: Function of finite numbers: whether they are other values.
    """

    channels: tuple
    values: str
    is_wrong: Callable = np.zeros_like


_KINDS = {
    "image": _Kind(((3,),), "finite numbers"),
    "label": _Kind(
        ((),),
        f"classes from 0 to {CLASSES - 1}, or -1 where there is none",
        lambda x: (x >= CLASSES) | (x != np.rint(x)),
    ),
    "depth": _Kind(
        ((1,), ()),
        "depths that are finite, and 0 where there is none",
        lambda x: x < 0,
    ),
    "normal": _Kind(((3,),), "finite numbers, and zeros where there is none"),
}


# Where the validation split is taken from, and how many images it has.
SPLITS = {"igb": ("val", 197), "mtan": ("train", 79)}


def load_data(
    data_dir: str | os.PathLike,
    validation: int | None = None,
    images: int | None = None,
    seed: int = 0,
    split: str = "igb",
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
    train, validation, test = nyuv2.load_data("nyuv2", split="mtan")
    ```

    Args:
        data_dir: Folder with `{train,val}/{image,label,depth,normal}/<i>.npy`.
        validation: Number of images of the validation split, which are drawn at
            random: 197 by default, or 79 (a tenth) with `split="mtan"`, where
            0 leaves the split out.
        images: Number of images that are read of `train` and of `val`, or
            `None` for all.
        seed: Integer, draws the validation split.
        split: `"igb"` is the split of Dai et al. (2023): the 795 images in
            `train`, and of the 654 in `val` 197 for validation and 457 for the
            test. `"mtan"` is that of Liu et al. (2019) and most others: all of
            `val` is the test split, to be looked at once; validation is taken
            from `train`.

    Returns:
        A `TaskData`, which unpacks to `(train, validation, test)`.

    Raises:
        FileNotFoundError: `data_dir` has no such files.
        ValueError: `split` is not known, a split would be empty, or a file is
            not whole, or has another shape or values that are none of those:
            NaN or infinity, a class above 12, a negative depth.
    """
    if split not in SPLITS:
        raise ValueError(
            f"Expected `split` to be one of {list(SPLITS)}. "
            f"Received: split={split!r}"
        )
    source, default = SPLITS[split]
    validation = default if validation is None else validation
    folder = Path(data_dir).expanduser()
    parts = {
        name: _read_split(folder / name, images) for name in ("train", "val")
    }
    count = len(parts[source][0])
    least = 0 if source == "train" else 1
    if not least <= validation < count:
        raise ValueError(
            "Expected `validation` to leave an image for the other split from "
            f"{source!r}. Received: validation={validation} of {count} images"
        )
    order = np.random.default_rng(seed).permutation(count)
    held_out = _take(parts[source], np.sort(order[:validation]))
    parts[source] = _take(parts[source], np.sort(order[validation:]))
    return TaskData(
        parts["train"], held_out if validation else None, parts["val"]
    )


def _take(split, indices):
    images, targets = split
    return images[indices], {task: y[indices] for task, y in targets.items()}


def _read_split(folder, count):
    paths = _numbered_images(folder)[:count]
    size = _read(paths[0]).shape[:2]
    image, label, depth, normal = (
        np.stack([_read_checked(folder / kind / p.name, size) for p in paths])
        for kind in _KINDS
    )
    depth = depth.reshape(*label.shape, 1)
    has_normal = np.any(normal != 0, axis=-1, keepdims=True)
    return image, {
        "segmentation": np.where(label < 0, np.float32("nan"), label),
        "depth": np.where(depth == 0, np.float32("nan"), depth),
        "normal": np.where(has_normal, normal, np.float32("nan")),
    }


def _numbered_images(folder):
    paths = list((folder / "image").glob("*.npy"))
    if not paths:
        raise FileNotFoundError(
            "Expected `data_dir` to be a folder with the files "
            "`{train,val}/{image,label,depth,normal}/<i>.npy`. "
            f"Received: data_dir={str(folder.parent)!r}, without images in "
            f"{folder.name!r}"
        )
    for path in paths:
        if not (path.stem.isascii() and path.stem.isdigit()):
            raise ValueError(
                "Expected the names of images to be `<i>.npy`, with a number. "
                f"Received: {path}"
            )
    # The numbers are compared, since the name "10.npy" comes before "9.npy".
    return sorted(paths, key=lambda path: int(path.stem))


def _read(path):
    with reading(path, "a whole array of numbers, written by `numpy.save`"):
        with open(path, "rb") as file:
            array = np.load(file, allow_pickle=False)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"an array of the type {array.dtype}")
        # A number that is too large is infinity, which is refused.
        with np.errstate(over="ignore"):
            return array.astype("float32")


def _read_checked(path, size):
    array, kind = _read(path), _KINDS[path.parent.name]
    shapes = [(*size, *channels) for channels in kind.channels]
    if len(size) < 2 or array.shape not in shapes:
        raise ValueError(
            f"Expected {path} to have the shape {shapes[0]}, as the first "
            f"image of its split has {size}. Received: {array.shape}"
        )
    wrong = ~np.isfinite(array) | kind.is_wrong(array).astype(bool)
    if np.any(wrong):
        raise ValueError(
            f"Expected {path} to have {kind.values}. "
            f"Received: {array[wrong][0]}"
        )
    return array
