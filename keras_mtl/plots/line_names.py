"""The names of the lines of a figure, at the ends of the lines.

The names stand in one column and move up and down only. The nearest places at
which they do not overlap are then those of an isotonic regression, which is
exact; `adjustText`, made for labels among the points of a plane, takes a second
for eleven names and leaves some on top of each other where lines end together.
"""

import typing
from collections.abc import Sequence

import numpy as np

from keras_mtl.plots.axes import FONT_SIZE
from keras_mtl.plots.axes import TEXT_COLOR

if typing.TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D
    from matplotlib.text import Annotation


def name_lines(ax: "Axes", names: Sequence[str]) -> None:
    """Names lines at their ends, the names spread so that none overlap.

    Args:
        ax: The axes.
        names: The labels of the lines to name.
    """
    ax.margins(x=0.02)
    lines = [line for line in ax.get_lines() if line.get_label() in names]
    texts = [_write(ax, line) for line in lines]

    def place(ax: "Axes") -> None:
        ends = sorted((*_end(ax, line), i) for i, line in enumerate(lines))
        height = ax.get_window_extent().height * 72 / ax.figure.dpi
        gap = 1.3 * FONT_SIZE / max(height, 1.0)
        positions = spread([y for y, _, _ in ends], gap)
        for (y, x, i), position in zip(ends, positions, strict=True):
            texts[i].xy = x, y
            texts[i].set_position((1.05, position))

    # Matplotlib adapts the limits to the lines when it is asked for them.
    ax.get_ylim()
    place(ax)
    # By the user, or by another panel with the same scale.
    ax.callbacks.connect("ylim_changed", place)


def _write(ax: "Axes", line: "Line2D") -> "Annotation":
    return ax.annotate(
        str(line.get_label()),
        xy=(0.0, 0.0),
        xycoords=("data", "axes fraction"),
        textcoords="axes fraction",
        xytext=(1.05, 0.0),
        verticalalignment="center",
        fontsize=FONT_SIZE,
        color=TEXT_COLOR,
        annotation_clip=False,
        arrowprops={
            "arrowstyle": "-",
            "color": line.get_color(),
            "linewidth": 0.6,
            "relpos": (0.0, 0.5),
            "shrinkA": 1,
            "shrinkB": 0,
        },
    )


def _end(ax: "Axes", line: "Line2D") -> tuple[float, float]:
    """Returns the height, as part of that of `ax`, and the epoch of the end."""
    epochs, values = map(np.asarray, line.get_data())
    finite = np.isfinite(values)
    if not finite.any():
        return 0.0, epochs[-1]
    point = ax.transData.transform((epochs[finite][-1], values[finite][-1]))
    return ax.transAxes.inverted().transform(point)[1], epochs[finite][-1]


def spread(positions: Sequence[float], gap: float) -> list[float]:
    """Moves sorted positions as little as needed to be `gap` apart.

    Where neighbours overlap, they move to the mean of where each would put the
    group. All stay between 0 and 1, if there is room.
    """
    groups: list[tuple[float, int]] = []
    for i, position in enumerate(positions):
        groups.append((position - i * gap, 1))
        while len(groups) > 1 and groups[-2][0] > groups[-1][0]:
            start, size = groups.pop()
            other, other_size = groups[-1]
            total = size + other_size
            mean = (start * size + other * other_size) / total
            groups[-1] = mean, total
    starts = [start for start, size in groups for _ in range(size)]
    highest = max(0.0, 1.0 - gap * (len(positions) - 1))
    return [
        min(max(start, 0.0), highest) + i * gap
        for i, start in enumerate(starts)
    ]
