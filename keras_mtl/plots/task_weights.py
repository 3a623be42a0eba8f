import typing
from typing import Any

import numpy as np

from keras_mtl.plots.histories import plot_histories

if typing.TYPE_CHECKING:
    from matplotlib.axes import Axes


def task_weights(history: Any, ax: Any = None) -> "Axes | np.ndarray":
    """Plots the weight of each task over the epochs.

    The scale is logarithmic where the weights span decades.

    Example:

    >>> history = {"weight/seg": [1.0, 0.8], "weight/depth": [1.0, 1.2]}
    >>> ax = keras_mtl.plots.task_weights(history)
    >>> ax.get_ylabel()
    'mean weight of the epoch'

    Args:
        history: What `MultiTaskModel.fit` returns, or its `history` dict. With
            a dict of title to these, or a `BenchmarkResult` (its first seed),
            one panel for each.
        ax: The `matplotlib.axes.Axes` to draw in, as many as there are panels.
            By default, those of a new figure. The names of the tasks stand to
            the right of the axes.

    Returns:
        The axes, or for several panels an array of them, shape `(panels,)`.

    Raises:
        ValueError: If there are no weights in `history`, or another
            number of axes in `ax` than there are panels.
        ImportError: If matplotlib is not installed.
    """
    return plot_histories(
        history, ax, lambda task: f"weight/{task}", "mean weight of the epoch"
    )
