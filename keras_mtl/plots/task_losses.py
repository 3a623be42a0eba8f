import typing
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_mtl.plots.histories import plot_histories

if typing.TYPE_CHECKING:
    from matplotlib.axes import Axes


def task_losses(
    history: Any,
    ax: Any = None,
    validation: bool = False,
    tasks: Sequence[str] | None = None,
    highlight: Sequence[str] | None = None,
) -> "Axes | np.ndarray":
    """Plots the loss of each task over the epochs.

    The scale is logarithmic where the losses span decades; with zeros or
    negative values among them, it is linear around zero.

    Example:

    >>> history = {
    ...     "weight/seg": [1.0, 1.0], "weight/depth": [1.0, 1.0],
    ...     "seg_loss": [0.7, 0.5], "depth_loss": [90.0, 3.0],
    ... }
    >>> keras_mtl.plots.task_losses(history).get_yscale()
    'log'

    Args:
        history: As of `task_weights`.
        ax: As of `task_weights`.
        validation: Whether to plot the losses on the validation data.
        tasks: As of `task_weights`.
        highlight: As of `task_weights`.

    Returns:
        The axes, or for several panels an array of them, shape `(panels,)`.

    Raises:
        ValueError: If there are no such losses in `history`, if `ax` has
            another number of axes than there are panels, or if `tasks` or
            `highlight` has other tasks than the history.
        ImportError: If matplotlib is not installed.
    """
    prefix = "val_" if validation else ""
    label = "validation loss" if validation else "training loss"
    return plot_histories(
        history,
        ax,
        lambda task: f"{prefix}{task}_loss",
        label,
        tasks,
        highlight,
    )
