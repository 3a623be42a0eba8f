import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_mtl.plots.axes import add_legend
from keras_mtl.plots.axes import draw_line
from keras_mtl.plots.axes import given_axes
from keras_mtl.plots.axes import new_axes
from keras_mtl.plots.axes import set_title
from keras_mtl.plots.axes import style
from keras_mtl.plots.task_order import choose_highlights


def task_selection(
    log: Any,
    ax: Any = None,
    window: int | None = None,
    highlight: Sequence[str] | None = None,
) -> np.ndarray:
    """Plots which tasks were chosen over the steps, and with what reward.

    The first panel has the share of each task in the steps, the second the
    mean of its rewards, and the third the probability with which it was chosen:
    that of the policy, where it had been chosen last. All are means over a
    window of steps, of which a task may have none.

    Example:

    >>> log = keras_mtl.selection.SelectionLog(tasks=["cola", "sst2"])
    >>> for step in range(100):
    ...     log.append(step % 2, propensity=0.5, reward=step / 100)
    >>> axes = keras_mtl.plots.task_selection(log)
    >>> axes[0].get_ylabel()
    'share of steps'

    Args:
        log: A `SelectionLog`, or what has one as `log`, as a `TaskSampler`.
        ax: Three `matplotlib.axes.Axes`. By default, those of a new figure.
        window: Number of steps of which each point is the mean. By default, a
            fiftieth of the log, and at least ten steps per task.
        highlight: List of the tasks to draw in colours, the others in grey. By
            default all, up to 14; of more, the three that were chosen most
            often and the three that were chosen least often.

    Returns:
        Array of the axes, shape `(3,)`.

    Raises:
        ValueError: If the log is empty, `window` is less than 1, `ax` is not
            three axes, or `highlight` has other tasks than the log.
        ImportError: If matplotlib is not installed.
    """
    log = getattr(log, "log", log)
    if not len(log):
        raise ValueError("Expected a log with steps. Received: an empty log")
    if window is None:
        window = max(len(log) // 50, 10 * len(log.tasks))
    if window < 1:
        raise ValueError(
            "Expected `window` to be a number of steps, 1 or more. "
            f"Received: window={window}"
        )
    if ax is None:
        axes = new_axes(1, 3, (9.4, 3.0), sharey=False)
    else:
        axes = given_axes(ax, 3)
    steps, panels = _windows(log, min(window, len(log)))
    labels = "share of steps", "mean reward", "probability"
    coloured = choose_highlights([panels[0].sum(axis=1)], log.tasks, highlight)
    for ax, label, values in zip(axes, labels, panels, strict=True):
        for i, task in enumerate(log.tasks):
            index = i if task in coloured else None
            draw_line(ax, task, values[i], steps, index)
        style(ax, grid="y", hidden=["top", "right"])
        ax.set_ylabel(label)
        ax.set_xlabel("step")
    for ax in axes[[0, 2]]:
        ax.set_ylim(bottom=0, top=1.1 * ax.get_ylim()[1])
    known = panels[2][np.isfinite(panels[2])]
    if len(log.tasks) > 1 and np.ptp(known) < 1e-6:
        # Lines on top of each other look like one.
        set_title(axes[2], "", [f"{known[0]:.2g} for all tasks"])
    add_legend(axes, coloured, len(log.tasks) - len(coloured))
    return axes


def _windows(log: Any, size: int) -> tuple[list[float], np.ndarray]:
    """Returns the middle steps of windows, and means of shape `(3, T, n)`."""
    count = -(-len(log) // size)
    windows = np.arange(len(log)) // size
    starts = np.arange(count) * size
    ends = np.minimum(starts + size, len(log))
    panels = np.zeros((3, len(log.tasks), count))
    for i in range(len(log.tasks)):
        own = log.task_indices == i
        chosen = np.bincount(windows[own], minlength=count)
        panels[0, i] = chosen / (ends - starts)
        for panel, values in ((1, log.rewards), (2, log.propensities)):
            sums = np.bincount(windows[own], values[own], minlength=count)
            means = sums / np.where(chosen, chosen, math.nan)
            panels[panel, i] = means
    return ((starts + ends) / 2).tolist(), panels
