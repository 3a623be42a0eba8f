"""The tasks of NYUv2, and the pixels that have a label.

A function takes the labels of one task and returns them, with a stand-in for
those that are missing, and a boolean tensor, which pixels have one. Missing is
NaN, as for all tasks, and what MTAN's files have in its place.
"""

from collections.abc import Iterable
from typing import Any

from keras import ops

Tensor = Any

SCENE_TASKS = ("segmentation", "depth", "normal")


def scene_tasks(tasks: Iterable[str]) -> list[str]:
    """Returns the tasks as a list; all must be of NYUv2."""
    names = [] if isinstance(tasks, str) else list(tasks)
    if not names or not {*names} <= {*SCENE_TASKS}:
        raise ValueError(
            f"Expected `tasks` to be some of {list(SCENE_TASKS)}. "
            f"Received: tasks={tasks!r}"
        )
    return names


def labelled_classes(labels: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
    """Finds the classes; a negative one is none.

    Args:
        labels: Of shape `(batch, height, width)`, with a last axis of 1 or not.
        y_pred: Predictions of shape `(batch, height, width, classes)`.

    Returns:
        Tuple of integers and booleans of shape `(batch, height, width)`.
    """
    if len(labels.shape) == len(y_pred.shape):
        labels = ops.squeeze(labels, -1)
    present = labels >= 0
    labels = ops.where(present, labels, ops.zeros_like(labels))
    return ops.cast(labels, "int32"), present


def labelled_depths(labels: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
    """Finds the depths; 0 is none. All have the shape of the predictions."""
    if len(labels.shape) < len(y_pred.shape):
        labels = ops.expand_dims(labels, -1)
    present = labels > 0
    return ops.where(present, labels, ops.ones_like(labels)), present


def labelled_normals(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Finds the normals; a vector of zeros is none.

    Args:
        labels: Of shape `(batch, height, width, 3)`.

    Returns:
        Tuple of vectors of that shape and booleans without the last axis.
    """
    present = ops.sum(ops.square(labels), axis=-1) > 0
    zeros = ops.zeros_like(labels)
    return ops.where(present[..., None], labels, zeros), present
