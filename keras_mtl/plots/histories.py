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
from keras_mtl.plots.scales import set_scale
from keras_mtl.plots.task_order import choose_highlights
from keras_mtl.plots.task_order import declared_tasks
from keras_mtl.plots.task_order import order_tasks

if typing.TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_histories(
    history: Any,
    ax: Any,
    key_of: Callable[[str], str],
    label: str,
    tasks: Sequence[str] | None = None,
    highlight: Sequence[str] | None = None,
    remark: "Callable[[Axes, dict, list[int]], list[str]] | None" = None,
) -> "Axes | np.ndarray":
    """Plots one entry of each task, in a panel for each history.

    Args:
        history: As of `task_weights`.
        ax: As of `task_weights`.
        key_of: Returns the key of a task's entry in the history.
        label: What the entry is, for the axes and the error.
        tasks: As of `task_weights`.
        highlight: As of `task_weights`.
        remark: Marks what is remarkable in a panel, called with its axes, its
            entries and its epochs, and returns notes of it.

    Returns:
        The axes, or for several panels an array of them, shape `(panels,)`.
    """
    histories = _read(history)
    panels = [_entries(values, key_of) for _, values, _ in histories]
    if not all(panels):
        keys = next(h[1] for h, panel in zip(histories, panels) if not panel)
        raise ValueError(
            f"Expected `history` to have the {label} of tasks. "
            f"{_advice(keys)}Received: a history with {list(keys)}"
        )
    names = list(dict.fromkeys(task for panel in panels for task in panel))
    order = order_tasks(names, declared_tasks(history, names), tasks)
    drawn = [task for task in order if task in names]
    ends = [[_last(panel.get(task, ())) for task in drawn] for panel in panels]
    coloured = choose_highlights(ends, drawn, highlight)
    axes = _panels(len(panels)) if ax is None else given_axes(ax, len(panels))
    others = len(drawn) - len(coloured)
    for ax, panel, (title, _, epochs) in zip(
        axes, panels, histories, strict=True
    ):
        for task in filter(panel.__contains__, drawn):
            index = order.index(task) if task in coloured else None
            draw_line(ax, task, panel[task], epochs, index)
        notes = [] if remark is None else remark(ax, panel, epochs)
        if others and len(panels) == 1:
            notes.append(f"grey: the other {others} tasks")
        set_title(ax, title or "", notes)
    _style_panels(axes, panels, label)
    if len(panels) == 1:
        name_lines(axes[0], coloured)
        return axes[0]
    add_legend(axes, coloured, others)
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


def _advice(keys: dict) -> str:
    """Says what to do about the history of a plain Keras model."""
    if _tasks(keys):
        return ""
    return (
        "It is that of another model: train "
        "`keras_mtl.MultiTaskModel(inputs, outputs)`, which "
        'with weighting="equal" trains as a `keras.Model`, and whose history '
        "has `weight/<task>`. "
    )


def _panels(count: int) -> np.ndarray:
    if count == 1:
        return new_axes(1, 1, (6.8, 3.8))
    rows = math.ceil(count / 4)
    columns = math.ceil(count / rows)
    size = (1.6 + 2.6 * columns, 0.4 + 2.3 * rows)
    return new_axes(rows, columns, size, count)


def _last(values: Sequence[float]) -> float:
    """Returns the last value, NaN if there is none."""
    return float(values[-1]) if len(values) else math.nan


def _style_panels(axes: np.ndarray, panels: Sequence[dict], label: str) -> None:
    values = [x for panel in panels for x in panel.values()]
    for ax in axes:
        style(ax, grid="y", hidden=["top", "right"])
        set_scale(ax, values)
        ax.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    _label_axes(axes, label)


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
