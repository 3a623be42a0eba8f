"""MultiMNIST: two digits in one image, each of which is a task.

An image has one digit of MNIST at the top left and another one at the bottom
right, which overlap. The tasks are to tell which digit is on the `left`, and
which on the `right`.

References:

- [LeCun et al., 1998](https://doi.org/10.1109/5.726791), MNIST.
- [Sener and Koltun, 2018](https://arxiv.org/abs/1810.04650), the data set. The
  paper does not say how far apart the digits are; here, they are where the
  authors' code has them: 6 pixels apart on a canvas of 36 x 36, of which every
  pixel is the larger one of the two digits', resized to the nearest pixels.
"""

import os
from pathlib import Path

import numpy as np

from keras_mtl.backend.files import reading
from keras_mtl.datasets.task_data import TaskData

TASKS = ("left", "right")
CLASSES = 10

_FILE = "mnist.npz"
_DIGIT, _CANVAS, _SHIFT = 28, 36, 6
# The pixels of the canvas that are nearest to those of an image.
_NEAREST = ((np.arange(_DIGIT) + 0.5) * _CANVAS / _DIGIT).astype(int)


def load_data(
    data_dir: str | os.PathLike | None = None,
    validation: int = 10000,
    images: int | None = None,
    seed: int = 0,
) -> TaskData:
    """Makes MultiMNIST from MNIST, the same one for the same seed.

    Every digit of MNIST is the left one of one image, and the right one is
    drawn from the same split: with 60,000 digits for training and 10,000 for
    test, there are as many images. Those of validation are taken from the
    60,000, so that no digit of it is in an image of training.

    The tasks share their inputs. Each split is a pair `(x, y)`: `x` are the
    images, float32 of shape `(n, 28, 28, 1)`, in [0, 1], and `y` a dict of
    `"left"` and `"right"`, the digits, int32 of shape `(n,)`.

    Example:

    ```python
    keras.datasets.mnist.load_data()  # downloads MNIST, if it is not there yet
    train, validation, test = multi_mnist.load_data()
    model.fit(*train, validation_data=validation)
    ```

    Args:
        data_dir: Folder with Keras's file `mnist.npz`. Defaults to `datasets`
            in `$KERAS_HOME`, or in `~/.keras`, where Keras keeps it.
        validation: Number of the 60,000 digits of training that make the
            validation split. With 0 there is none, as in the paper.
        images: Number of images of training, and of each other split, at most;
            or `None` for all.
        seed: Integer that is not negative, draws the validation split and the
            pairs.

    Returns:
        A `TaskData`, which unpacks to `(train, validation, test)`.

    Raises:
        FileNotFoundError: `data_dir` has no such file.
        ValueError: `validation` leaves no digit for training, or the file has
            other arrays.
    """
    path = _path(data_dir)
    digits, labels = _read(path, "train")
    if not 0 <= validation < len(digits):
        raise ValueError(
            "Expected `validation` to leave a digit for training. "
            f"Received: validation={validation} of {len(digits)} digits"
        )
    order = np.random.default_rng([seed, 0]).permutation(len(digits))
    chosen, held_out = order[validation:], order[:validation]
    train = _overlay(digits[chosen], labels[chosen], images, [seed, 1])
    held = _overlay(digits[held_out], labels[held_out], images, [seed, 2])
    digits, labels = _read(path, "test")
    test = _overlay(digits, labels, images, [seed, 3])
    return TaskData(train, held if validation else None, test)


def _path(data_dir):
    if data_dir is None:
        data_dir = Path(os.environ.get("KERAS_HOME", "~/.keras")) / "datasets"
    path = Path(data_dir).expanduser() / _FILE
    if not path.exists():
        raise FileNotFoundError(
            f"Expected `data_dir` to be a folder with the file `{_FILE}`, "
            "which `keras.datasets.mnist.load_data()` downloads. Received: "
            f"data_dir={str(data_dir)!r}"
        )
    return path


def _read(path, split):
    names = f"x_{split}", f"y_{split}"
    with (
        reading(path, f"an archive of NumPy with arrays {list(names)}"),
        open(path, "rb") as source,
        np.load(source, allow_pickle=False) as file,
    ):
        digits, labels = (file[name] for name in names)
        if digits.dtype != "uint8" or digits.shape[1:] != (_DIGIT, _DIGIT):
            raise ValueError(
                f"{names[0]} of the type {digits.dtype} and the shape "
                f"{digits.shape} instead of uint8 and (n, 28, 28)"
            )
        if labels.dtype.kind not in "ui" or labels.shape != digits.shape[:1]:
            raise ValueError(
                f"{names[1]} of the type {labels.dtype} and the shape "
                f"{labels.shape} instead of integers and {digits.shape[:1]}"
            )
        if not len(labels) or labels.min() < 0 or labels.max() >= CLASSES:
            raise ValueError(f"{names[1]} without digits, or with other ones")
    return digits, labels.astype("int32")


def _overlay(digits, labels, count, seed):
    """Returns `(x, y)` of images with a digit each, and one that is drawn."""
    drawn = np.random.default_rng(seed).random(len(digits))[:count]
    right = (drawn * len(digits)).astype(int)
    left = slice(len(right))
    canvas = np.zeros((len(right), _CANVAS, _CANVAS), "uint8")
    shifted = slice(_SHIFT, _SHIFT + _DIGIT)
    canvas[:, :_DIGIT, :_DIGIT] = digits[left]
    place = canvas[:, shifted, shifted]
    np.maximum(place, digits[right], out=place)
    images = canvas[:, _NEAREST][:, :, _NEAREST, None]
    return images.astype("float32") / 255, {
        "left": labels[left],
        "right": labels[right],
    }
