"""What the figures share: colours, new axes, lines and legends."""

import math
import typing
from collections.abc import Sequence
from typing import Literal

import numpy as np

if typing.TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which colour-blind readers tell apart, without the
# yellow that is faint on white.
COLORS = [
    *["#0072B2", "#D55E00", "#009E73", "#CC79A7"],
    *["#E69F00", "#56B4E9", "#000000"],
]
LINE_STYLES = ["-", "--", "-.", ":"]
MARKERS = ["", "o", "s", "^", "D"]
# More lines than these, solid and dashed in each colour, nobody tells apart.
NUM_LOOKS = 2 * len(COLORS)
GREY = "0.78"
TEXT_COLOR = "0.15"
FONT_SIZE = 9


def new_axes(
    rows: int,
    columns: int,
    size: tuple[float, float],
    count: int | None = None,
    sharex: bool = True,
    sharey: bool = True,
) -> np.ndarray:
    """Returns the axes of a new figure, shape `(count,)`.

    Args:
        rows: Number of rows.
        columns: Number of columns.
        size: Width and height of the figure in inches.
        count: How many are needed, by default all; the others are removed.
        sharex: Whether all panels have the same scale from left to right.
        sharey: Whether all panels have the same scale from top to bottom.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "keras_mtl.plots needs matplotlib: pip install matplotlib"
        ) from error
    # A notebook shows the figures that pyplot knows, so pyplot makes them.
    _, axes = plt.subplots(
        rows,
        columns,
        figsize=size,
        sharex=sharex,
        sharey=sharey,
        squeeze=False,
        layout="constrained",
    )
    axes = axes.ravel()
    for unused in axes[len(axes) if count is None else count :]:
        unused.remove()
    return axes[:count]


def given_axes(ax: typing.Any, count: int) -> np.ndarray:
    """Returns the axes that the user gave, shape `(count,)`."""
    axes = np.ravel(np.array(ax, dtype=object))
    if len(axes) != count:
        raise ValueError(
            f"Expected `ax` to be {count} axes, one a panel. "
            f"Received: {len(axes)}"
        )
    return axes


def draw_line(
    ax: "Axes",
    task: str,
    values: Sequence[float],
    steps: Sequence[float],
    index: int | None,
) -> None:
    """Draws a task's line, with the look of the task number `index`.

    Args:
        ax: The axes.
        task: The task's name.
        values: The heights; what is not finite is left out.
        steps: The places, of which validation has every few only.
        index: The number of the task, or `None` for a grey line.
    """
    heights = np.array(values, "float64")
    heights[~np.isfinite(heights)] = math.nan
    every = max(1, len(steps) // max(1, len(heights)))
    grey = index is None
    cycle = 0 if grey else index // len(COLORS)
    marker = MARKERS[cycle // len(LINE_STYLES) % len(MARKERS)]
    ax.plot(
        np.array(steps[every - 1 :: every][: len(heights)]),
        heights,
        label=task,
        color=GREY if grey else COLORS[index % len(COLORS)],
        linestyle=LINE_STYLES[cycle % len(LINE_STYLES)],
        linewidth=0.8 if grey else 1.6,
        zorder=1.5 if grey else 2,
        # A single point is no line.
        marker=marker or ("o" if np.isfinite(heights).sum() == 1 else ""),
        markersize=4,
        markevery=max(1, len(heights) // 6) if marker else None,
    )


def signed(value: float, digits: int, sign: str = "") -> str:
    """Returns a number as text: with a minus sign, and without one for 0."""
    # The sum with 0 turns -0.0 into 0.0.
    return f"{round(value, digits) + 0.0:{sign}.{digits}f}".replace("-", "−")


def style(
    ax: "Axes", grid: Literal["x", "y", "both"], hidden: Sequence[str]
) -> None:
    """Gives axes a faint grid, and hides some of the lines around them."""
    ax.spines[list(hidden)].set_visible(False)
    ax.grid(axis=grid, color="0.9", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.tick_params(labelsize=FONT_SIZE)


def set_title(ax: "Axes", title: str, notes: Sequence[str] = ()) -> None:
    """Writes a title above the axes, and smaller notes where there are any."""
    lines = [title] if title else []
    size = FONT_SIZE if notes else FONT_SIZE + 1
    ax.set_title("\n".join([*lines, *notes]), loc="left", fontsize=size)


def add_legend(axes: np.ndarray, tasks: Sequence[str], others: int = 0) -> None:
    """Names the lines of several panels to the right of them.

    Args:
        axes: The panels.
        tasks: The names of the lines.
        others: The number of grey lines.
    """
    from matplotlib.lines import Line2D

    lines = {x.get_label(): x for ax in axes for x in ax.get_lines()}
    handles = [lines[task] for task in tasks]
    names = list(tasks)
    if others:
        handles.append(Line2D([], [], color=GREY, linewidth=0.8))
        names.append(f"{others} others")
    axes.flat[0].figure.legend(
        handles,
        names,
        loc="outside right center",
        frameon=False,
        fontsize=FONT_SIZE,
        handlelength=2.8,
    )
