import math
import typing
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_mtl.plots.axes import COLORS
from keras_mtl.plots.axes import FONT_SIZE
from keras_mtl.plots.axes import TEXT_COLOR
from keras_mtl.plots.axes import given_axes
from keras_mtl.plots.axes import new_axes
from keras_mtl.plots.axes import set_title
from keras_mtl.plots.axes import signed

if typing.TYPE_CHECKING:
    from matplotlib.axes import Axes

# Of a figure, in inches: what does not fit beside goes below.
MAX_WIDTH = 12.0


def gradient_cosines(
    cosines: Any, tasks: Sequence[str] | None = None, ax: Any = None
) -> "Axes | np.ndarray":
    """Plots the cosines between the gradients of the tasks as a heat map.

    Conflicts, which are negative, are red, agreement is blue; the scale is that
    of a cosine, from −1 to 1, in every figure. The diagonal, which is always 1,
    is left out, and so is a task without a gradient.

    Example:

    >>> cosines = [[1.0, -0.2], [-0.2, 1.0]]
    >>> ax = keras_mtl.plots.gradient_cosines(cosines, tasks=["seg", "depth"])
    >>> ax.get_yticklabels()[1].get_text()
    'depth'

    Args:
        cosines: A `keras_mtl.callbacks.GradientCosines`, or an array of shape
            `(T, T)`. Of several measurements, shape `(measurements, T, T)`, the
            mean is plotted. With a dict of title to these, one panel for each.
        tasks: List of the names of the tasks, for arrays.
        ax: The `matplotlib.axes.Axes` to draw in, as many as there are panels.
            By default, those of a new figure.

    Returns:
        The axes, or for several panels an array of them, shape `(panels,)`.

    Raises:
        ValueError: If there are no such cosines, or another
            number of axes in `ax` than there are panels.
        ImportError: If matplotlib is not installed.
    """
    is_dict = isinstance(cosines, dict)
    panels = cosines if is_dict else {"": cosines}
    tasks = _names_of(panels, tasks)
    matrices = [_mean_cosines(x, len(tasks)) for x in panels.values()]
    if ax is None:
        axes = _panels(len(panels), len(tasks))
    else:
        axes = given_axes(ax, len(panels))
    for ax, title, matrix in zip(axes, panels, matrices, strict=True):
        image = _draw_matrix(ax, matrix, tasks)
        set_title(ax, title)
    bar = axes.flat[0].figure.colorbar(image, ax=list(axes), shrink=0.8)
    bar.set_label("cosine of the gradients", fontsize=FONT_SIZE)
    bar.ax.tick_params(labelsize=FONT_SIZE)
    bar.outline.set_visible(False)
    return axes if is_dict else axes[0]


def _panels(count: int, num_tasks: int) -> np.ndarray:
    side = _side(num_tasks)
    columns = min(count, 4, max(1, int(MAX_WIDTH / side)))
    rows = math.ceil(count / columns)
    size = (1.5 + side * columns, 0.4 + side * rows)
    return new_axes(rows, columns, size, count, sharex=False, sharey=False)


def _side(num_tasks: int) -> float:
    """Returns the width of a panel in inches."""
    return max(2.0, 0.8 + min(0.36, 8.0 / num_tasks) * num_tasks)


def _names_of(
    panels: Mapping[str, Any], tasks: Sequence[str] | None
) -> list[str]:
    for cosines in panels.values():
        tasks = tasks or getattr(cosines, "tasks", None)
    if not tasks:
        types = [type(cosines).__name__ for cosines in panels.values()]
        raise ValueError(
            "Expected a `GradientCosines` of a training, or arrays of cosines "
            f"and `tasks`. Received: {types}, tasks={tasks}"
        )
    return list(tasks)


def _mean_cosines(cosines: Any, num_tasks: int) -> np.ndarray:
    """Returns the mean of several matrices, NaN on the diagonal."""
    values = np.array(getattr(cosines, "cosines", cosines), "float64")
    if values.ndim not in (2, 3) or values.shape[-2:] != 2 * (num_tasks,):
        raise ValueError(
            f"Expected cosines of {num_tasks} tasks, of shape ({num_tasks}, "
            f"{num_tasks}), or several such. Received: shape {values.shape}"
        )
    values = values.reshape(-1, num_tasks, num_tasks)
    known = np.isfinite(values)
    counts = known.sum(axis=0)
    sums = np.where(known, values, 0.0).sum(axis=0)
    means = np.where(counts, sums / np.maximum(counts, 1), math.nan)
    np.fill_diagonal(means, math.nan)
    return means


def _draw_matrix(ax: "Axes", matrix: np.ndarray, tasks: Sequence[str]) -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    colors = LinearSegmentedColormap.from_list(
        "conflict", [COLORS[1], "white", COLORS[0]]
    ).with_extremes(bad="0.9")
    image = ax.imshow(matrix, cmap=colors, vmin=-1.0, vmax=1.0)
    ax.set_xticks(range(len(tasks)), tasks, rotation=90)
    ax.set_yticks(range(len(tasks)), tasks)
    # Of many tasks, a name is as high as its row.
    size = min(FONT_SIZE, max(5.0, 400.0 / len(tasks)))
    ax.tick_params(labelsize=size, length=0)
    ax.spines[:].set_visible(False)
    if len(tasks) <= 8:
        for i, j in np.argwhere(np.isfinite(matrix)):
            _write_cell(ax, i, j, matrix[i, j])
    return image


def _write_cell(ax: "Axes", i: int, j: int, cosine: float) -> None:
    text = signed(cosine, 2)
    ax.text(
        *(j, i, "0" if text == "0.00" else text.replace("0.", ".")),
        horizontalalignment="center",
        verticalalignment="center",
        fontsize=FONT_SIZE - 2,
        color="white" if abs(cosine) > 0.7 else TEXT_COLOR,
    )
