"""Lines over the epochs of one history or of several."""

import math
import typing
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_mtl.plots.axes import add_legend
from keras_mtl.plots.axes import draw_line
from keras_mtl.plots.axes import given_axes
from keras_mtl.plots.axes import new_axes
from keras_mtl.plots.axes import set_title
from keras_mtl.plots.axes import style
from keras_mtl.plots.line_names import name_lines

if typing.TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_histories(
    history: Any, ax: Any, key_of: Callable[[str], str], label: str
) -> "Axes | np.ndarray":
    """Plots one entry of each task, in a panel for each history.

    Args:
        history: As of `task_weights`.
        ax: As of `task_weights`.
        key_of: Returns the key of a task's entry in the history.
        label: What the entry is, for the axes and the error.

    Returns:
        The axes, or for several panels an array of them, shape `(panels,)`.
    """
    histories = _read(history)
    panels = [_entries(values, key_of) for _, values, _ in histories]
    if not all(panels):
        raise ValueError(
            f"Expected `history` to have the {label} of tasks. "
            f"Received: a history with {list(histories[0][1])}"
        )
    tasks = list(dict.fromkeys(task for panel in panels for task in panel))
    axes = _panels(len(panels)) if ax is None else given_axes(ax, len(panels))
    scale = "log" if _spans_decades(panels) else "linear"
    for ax, panel, (title, _, epochs) in zip(
        axes, panels, histories, strict=True
    ):
        for task, values in panel.items():
            draw_line(ax, task, values, epochs, tasks.index(task))
        style(ax, grid="y", hidden=["top", "right"])
        ax.set_yscale(scale)
        ax.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        set_title(ax, title or "")
    _label_axes(axes, label)
    if len(panels) == 1:
        name_lines(axes[0])
        return axes[0]
    add_legend(axes, tasks)
    return axes


def _read(history: Any) -> list[tuple[str | None, dict, list[int]]]:
    """Returns a list of `(title, history dict, epochs)`."""
    if hasattr(history, "histories"):
        history = history.histories()
    if isinstance(history, keras.callbacks.History):
        epochs = [epoch + 1 for epoch in history.epoch]
        return [(None, history.history, epochs)]
    if not isinstance(history, dict) or not history:
        raise ValueError(
            "Expected a `History`, its dict, or a dict of title to these. "
            f"Received: {history} of type {type(history)}"
        )
    if all(np.ndim(values) == 1 for values in history.values()):
        length = max(map(len, history.values()))
        return [(None, history, list(range(1, length + 1)))]
    return [
        (str(title), single, epochs)
        for title, values in history.items()
        for _, single, epochs in _read(values)
    ]


def _entries(values: dict, key_of: Callable[[str], str]) -> dict:
    entries = {task: values.get(key_of(task)) for task in _tasks(values)}
    return {task: x for task, x in entries.items() if x is not None}


def _tasks(values: dict) -> list[str]:
    # A training with a `TaskSampler` has shares in place of weights.
    for prefix in "weight/", "share/":
        keys = [key for key in values if key.startswith(prefix)]
        if keys:
            return [key.removeprefix(prefix) for key in keys]
    return []


def _panels(count: int) -> np.ndarray:
    if count == 1:
        return new_axes(1, 1, (6.8, 3.8))
    rows = math.ceil(count / 4)
    columns = math.ceil(count / rows)
    size = (1.6 + 2.6 * columns, 0.4 + 2.3 * rows)
    return new_axes(rows, columns, size, count)


def _spans_decades(panels: Sequence[dict]) -> bool:
    values = np.concatenate(
        [np.asarray(x, "float64") for panel in panels for x in panel.values()]
    )
    values = values[np.isfinite(values)]
    return bool(
        values.size and values.min() > 0 and values.max() > 20 * values.min()
    )


def _label_axes(axes: np.ndarray, label: str) -> None:
    """Labels the panels at the left and those with none below."""
    specs = [ax.get_subplotspec() for ax in axes]
    for i, (ax, spec) in enumerate(zip(axes, specs, strict=True)):
        below = [s for s in specs[i + 1 :] if s and spec and _is_below(s, spec)]
        if not below:
            ax.set_xlabel("epoch")
            ax.tick_params(axis="x", labelbottom=True)
        if spec is None or spec.is_first_col() or len(axes) == 1:
            ax.set_ylabel(label)


def _is_below(spec: Any, other: Any) -> bool:
    return spec.colspan == other.colspan and spec.rowspan.start > (
        other.rowspan.start
    )
