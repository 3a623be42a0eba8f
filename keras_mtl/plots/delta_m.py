import math
import typing
from typing import Any

import numpy as np

from keras_mtl.plots.axes import COLORS
from keras_mtl.plots.axes import FONT_SIZE
from keras_mtl.plots.axes import TEXT_COLOR
from keras_mtl.plots.axes import new_axes
from keras_mtl.plots.axes import style

if typing.TYPE_CHECKING:
    from matplotlib.axes import Axes


def delta_m(result: Any, ax: "Axes | None" = None) -> "Axes":
    """Plots the Δm of each weighting as bars, with the standard deviations.

    Improvements over the baseline are blue, changes for the worse are red.

    Example:

    >>> ax = keras_mtl.plots.delta_m({"equal": 0.0, "nash_mtl": (-25.1, 1.2)})
    >>> ax.get_xlabel()
    'Δm (%), lower is better'

    Args:
        result: A `BenchmarkResult`, or a dict of label to Δm in percent, or to
            its `(mean, standard deviation)`.
        ax: The `matplotlib.axes.Axes` to draw in, by default those of a new
            figure.

    Returns:
        The axes.

    Raises:
        ValueError: If `result` is empty.
        ImportError: If matplotlib is not installed.
    """
    label = "Δm (%), lower is better"
    if hasattr(result, "summary"):
        label = f"Δm against {_baseline_of(result)} (%), lower is better"
        result = {x: y["delta_m"] for x, y in result.summary().items()}
    if not result:
        raise ValueError(f"Expected at least one Δm. Received: {result}")
    labels = list(result)
    pairs = [x if np.ndim(x) else (x, math.nan) for x in result.values()]
    means, deviations = np.array(pairs, "float64").T
    if ax is None:
        size = (6.4, 0.9 + 0.35 * len(labels))
        ax = new_axes(1, 1, size)[0]
    for i, (mean, deviation) in enumerate(zip(means, deviations, strict=True)):
        bar = ax.barh(
            i,
            np.nan_to_num(mean),
            xerr=deviation if deviation > 0 else None,
            color=COLORS[1] if mean > 0 else COLORS[0],
            error_kw={"ecolor": TEXT_COLOR, "elinewidth": 1.2, "capsize": 3},
            height=0.65,
        )
        ax.bar_label(
            bar,
            [_with_spread(mean, deviation)],
            padding=4,
            color=TEXT_COLOR,
            fontsize=FONT_SIZE,
        )
    ax.axvline(0, color=TEXT_COLOR, linewidth=0.8)
    ax.set_yticks(range(len(labels)), labels)
    ax.invert_yaxis()
    ax.tick_params(axis="y", length=0)
    # Room for the numbers at the ends of the bars.
    ax.margins(x=0.25)
    ax.set_xlabel(label)
    style(ax, grid="x", hidden=["top", "right", "left"])
    return ax


def _baseline_of(result: Any) -> str:
    return "baseline" if isinstance(result.baseline, dict) else result.baseline


def _with_spread(mean: float, deviation: float) -> str:
    if not math.isfinite(mean):
        return "not defined"
    spread = f" ± {deviation:.1f}" if math.isfinite(deviation) else ""
    return f"{mean:+.1f}{spread}".replace("-", "−")
