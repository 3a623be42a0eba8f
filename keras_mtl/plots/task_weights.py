import math
import typing
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_mtl.plots.axes import TEXT_COLOR
from keras_mtl.plots.histories import plot_histories

if typing.TYPE_CHECKING:
    from matplotlib.axes import Axes

# A weight this many times the median of the others' has run away.
RUNAWAY = 1000.0


def task_weights(
    history: Any,
    ax: Any = None,
    tasks: Sequence[str] | None = None,
    highlight: Sequence[str] | None = None,
) -> "Axes | np.ndarray":
    """Plots the weight of each task over the epochs.

    The scale is logarithmic where the weights span decades; with zeros among
    them, it is linear near zero.

    A weight that runs away, more than 1000 times the median of the other tasks'
    or not finite, is marked with a cross, and a note above the axes says so.

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
        tasks: List of the names of all tasks. The place of a task in it gives
            it its colour. By default the order of the `loss` dict, where
            `history` knows it; a dict does not, since Keras sorts its entries.
        highlight: List of the tasks to draw in colours, the others in grey. By
            default all, up to 14; of more, the three that end highest and the
            three that end lowest.

    Returns:
        The axes, or for several panels an array of them, shape `(panels,)`.

    Raises:
        ValueError: If there are no weights in `history`, if `ax` has another
            number of axes than there are panels, or if `tasks` or `highlight`
            has other tasks than the history.
        ImportError: If matplotlib is not installed.
    """
    return plot_histories(
        history,
        ax,
        lambda task: f"weight/{task}",
        "mean weight of the epoch",
        tasks,
        highlight,
        remark=_mark_runaways,
    )


def _mark_runaways(
    ax: "Axes", weights: Mapping[str, Sequence[float]], epochs: Sequence[int]
) -> list[str]:
    """Marks the weights that run away, and returns a note of each kind."""
    count = min(map(len, weights.values()))
    values = np.array([x[:count] for x in weights.values()], "float64")
    ratios = _ratios_to_others(np.abs(values))
    large, broken = {}, {}
    for i, task in enumerate(weights):
        finite = np.isfinite(values[i])
        if not finite.all():
            first = int(np.argmin(finite))
            broken[task] = epochs[first]
            _cross(ax, epochs[:first][-1:], values[i, :first][-1:])
        elif (ratios[i] > RUNAWAY).any():
            first = int(np.argmax(ratios[i] > RUNAWAY))
            large[task] = ratios[i].max()
            _cross(ax, [epochs[first]], [values[i, first]])
    notes = []
    if large:
        name = max(large, key=large.__getitem__)
        notes.append(
            f"× {_and_others(name, large)}: {_rounded(large[name])} times "
            "the others"
        )
    if broken:
        name = min(broken, key=broken.__getitem__)
        others = _and_others(name, broken)
        notes.append(f"× {others}: not finite from epoch {broken[name]}")
    return notes


def _ratios_to_others(sizes: np.ndarray) -> np.ndarray:
    """Returns each weight over the median of the others', shape `(T, n)`."""
    ratios = np.zeros_like(sizes)
    positive = np.where(np.isfinite(sizes) & (sizes > 0), sizes, math.nan)
    for i in range(len(sizes)):
        others = np.delete(positive, i, axis=0)
        known = np.isfinite(others).any(axis=0) & np.isfinite(sizes[i])
        medians = np.nanmedian(others[:, known], axis=0)
        ratios[i, known] = sizes[i, known] / medians
    return ratios


def _cross(ax: "Axes", epochs: Sequence, values: Sequence) -> None:
    ax.scatter(
        *(epochs, values),
        marker="X",
        s=55,
        color=TEXT_COLOR,
        edgecolors="white",
        linewidths=0.8,
        zorder=4,
    )


def _and_others(name: str, all_names: Mapping[str, Any]) -> str:
    count = len(all_names) - 1
    return f"{name} and {count} more" if count else name


def _rounded(value: float) -> str:
    """Returns a large number with two digits: 189,593 is 190,000."""
    if value >= 1e7:
        mantissa, exponent = f"{value:.0e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{round(value, 1 - math.floor(math.log10(value))):,.0f}"
