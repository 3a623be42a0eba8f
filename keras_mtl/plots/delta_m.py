import math
import typing
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_mtl.plots.axes import COLORS
from keras_mtl.plots.axes import FONT_SIZE
from keras_mtl.plots.axes import TEXT_COLOR
from keras_mtl.plots.axes import new_axes
from keras_mtl.plots.axes import signed
from keras_mtl.plots.axes import style
from keras_mtl.plots.outliers import find_limits
from keras_mtl.plots.outliers import label_of_delta_m
from keras_mtl.plots.outliers import pair_of

if typing.TYPE_CHECKING:
    from matplotlib.axes import Axes


def delta_m(
    result: Any,
    ax: "Axes | None" = None,
    sort: bool = True,
    limit: float | None = None,
) -> "Axes":
    """Plots the Δm of each weighting as bars, with the standard deviations.

    Improvements over the baseline are blue, changes for the worse are red. A
    bar that is so long that the others could not be read is broken: two strokes
    cut it at the edge, and its value stands beside it.

    Example:

    >>> ax = keras_mtl.plots.delta_m({"equal": 0.0, "nash_mtl": (-25.1, 1.2)})
    >>> ax.get_xlabel()
    'Δm (%), lower is better'

    Args:
        result: A `BenchmarkResult`, or a dict of label to Δm in percent, or to
            its `(mean, standard deviation)`.
        ax: The `matplotlib.axes.Axes` to draw in, by default those of a new
            figure.
        sort: Whether the best is at the top, else they stand in the order of
            `result`.
        limit: Largest Δm, up or down, that is drawn whole. By default, bars are
            broken that are five times as long as the median of all that are not
            0, and twice as long as the longest that is not broken (of one, two
            or three bars, those of 100 % or less are whole). With `math.inf`,
            no bar is broken.

    Returns:
        The axes.

    Raises:
        ValueError: If `result` is empty, or `limit` is not positive.
        ImportError: If matplotlib is not installed.
    """
    label = label_of_delta_m(result)
    if hasattr(result, "summary"):
        result = {x: y["delta_m"] for x, y in result.summary().items()}
    if not result:
        raise ValueError(f"Expected at least one Δm. Received: {result}")
    pairs = {name: pair_of(x) for name, x in result.items()}
    labels = list(pairs)
    if sort:
        labels.sort(key=lambda x: (not math.isfinite(pairs[x][0]), pairs[x][0]))
    if ax is None:
        size = (6.4, 0.9 + 0.3 * len(labels))
        ax = new_axes(1, 1, size)[0]
    low, high = find_limits([mean for mean, _ in pairs.values()], limit)
    for i, name in enumerate(labels):
        mean, deviation = pairs[name]
        _draw_bar(ax, i, mean, deviation, low, high)
    ax.axvline(0, color=TEXT_COLOR, linewidth=0.8)
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    _make_room(ax, list(pairs.values()), low, high)
    ax.set_xlabel(label)
    style(ax, grid="x", hidden=["top", "right", "left"])
    return ax


def _draw_bar(
    ax: "Axes",
    place: int,
    mean: float,
    deviation: float,
    low: float,
    high: float,
) -> None:
    is_whole = low <= mean <= high
    has_spread = is_whole and deviation > 0
    length = min(max(mean, low), high) if math.isfinite(mean) else 0.0
    ax.barh(
        place,
        length,
        xerr=deviation if has_spread else None,
        color=COLORS[1] if mean > 0 else COLORS[0],
        error_kw={"ecolor": TEXT_COLOR, "elinewidth": 1.2, "capsize": 3},
        height=0.65,
    )
    is_right = not mean < 0
    if math.isfinite(mean) and not is_whole:
        _break_bar(ax, place, length, 1 if is_right else -1)
    end = length
    if has_spread:
        end += deviation if is_right else -deviation
    ax.annotate(
        _with_spread(mean, deviation),
        xy=(end, place),
        xytext=(5 if is_right else -5, 0),
        textcoords="offset points",
        horizontalalignment="left" if is_right else "right",
        verticalalignment="center",
        color=TEXT_COLOR,
        fontsize=FONT_SIZE,
    )


def _break_bar(ax: "Axes", place: int, end: float, side: int) -> None:
    """Cuts a bar near its end by two white strokes."""
    for points in (-12, -8):
        ax.annotate(
            "/",
            xy=(end, place),
            xytext=(side * points, 0),
            textcoords="offset points",
            horizontalalignment="center",
            verticalalignment="center_baseline",
            fontsize=FONT_SIZE + 7,
            fontweight="bold",
            color="white",
            annotation_clip=False,
        )


def _make_room(
    ax: "Axes", pairs: Sequence[tuple[float, float]], low: float, high: float
) -> None:
    """Widens the x axis by the numbers at the ends of the bars."""
    ends = [0.0]
    longest = {-1: 0, 1: 0}
    for mean, deviation in pairs:
        side = -1 if mean < 0 else 1
        text = _with_spread(mean, deviation)
        longest[side] = max(longest[side], len(text))
        if math.isfinite(mean):
            spread = np.nan_to_num(deviation) if low <= mean <= high else 0.0
            shown = min(max(mean, low), high)
            ends += [shown - spread, shown + spread]
    points = ax.get_window_extent().width * 72 / ax.figure.dpi
    # Names to the left of the axes take some of their width when it is drawn.
    shares = {
        side: min(0.4, (0.75 * FONT_SIZE * count + 8) / max(points, 1.0))
        if count
        else 0.02
        for side, count in longest.items()
    }
    width = (max(ends) - min(ends)) or 1.0
    total = width / (1.0 - sum(shares.values()))
    left = min(ends) - shares[-1] * total
    right = max(ends) + shares[1] * total
    ax.set_xlim(left, right)
    # Beyond a break, the axis has no values.
    ax.set_xticks(
        [x for x in ax.get_xticks() if max(low, left) <= x <= min(high, right)]
    )


def _with_spread(mean: float, deviation: float) -> str:
    if not math.isfinite(mean):
        return "not defined"
    spread = f" ± {deviation:.1f}" if math.isfinite(deviation) else ""
    return signed(mean, 1, "+") + spread
