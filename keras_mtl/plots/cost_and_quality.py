import math
import statistics
import typing
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

from keras_mtl.plots.axes import COLORS
from keras_mtl.plots.axes import GREY
from keras_mtl.plots.axes import TEXT_COLOR
from keras_mtl.plots.axes import new_axes
from keras_mtl.plots.axes import signed
from keras_mtl.plots.axes import style
from keras_mtl.plots.outliers import find_limits
from keras_mtl.plots.outliers import label_of_delta_m
from keras_mtl.plots.outliers import pair_of
from keras_mtl.plots.point_names import name_points

if typing.TYPE_CHECKING:
    from matplotlib.axes import Axes

# The slowest over the fastest, from which on the axis is logarithmic.
WIDE = 4.0
# The least width of the axis, as part of the longest time.
NARROW = 0.3


class Method(NamedTuple):
    """Where a method stands, with its standard deviations over the seeds."""

    time: float
    time_deviation: float
    delta_m: float
    delta_m_deviation: float


def cost_and_quality(
    result: Any, ax: "Axes | None" = None, limit: float | None = None
) -> "Axes":
    """Plots what each weighting costs against what it brings.

    To the right is the time of a training step, up is Δm, of which lower is
    better: the best weightings are below at the left. The grey line joins those
    that no other weighting beats in both; their points are blue. The bars are
    standard deviations over the seeds. A Δm that is so large that the others
    could not be told apart stands at the upper edge, with its value, and a
    weighting whose Δm is not defined stands in a note.

    Example:

    >>> ax = keras_mtl.plots.cost_and_quality({
    ...     "equal": (1.0, 0.0), "igb_v1": (1.01, (-19.4, 1.1)),
    ...     "nash_mtl": (2.3, (-25.1, 1.2)),
    ... })
    >>> ax.get_xlabel()
    'time of a step'

    Args:
        result: A `BenchmarkResult`, or a dict of label to `(time, Δm)`. Both
            can be pairs, `(mean, standard deviation)`.
        ax: The `matplotlib.axes.Axes` to draw in, by default those of a new
            figure.
        limit: Largest Δm that is drawn in its place, as of `delta_m`.

    Returns:
        The axes.

    Raises:
        ValueError: If `result` has no weighting whose time and Δm are finite,
            or `limit` is not positive.
        ImportError: If matplotlib is not installed.
    """
    methods = _read(result)
    drawn = {
        name: x
        for name, x in methods.items()
        if math.isfinite(x.time) and math.isfinite(x.delta_m)
    }
    if not drawn:
        raise ValueError(
            "Expected at least one weighting with a finite time and Δm. "
            f"Received: {result}"
        )
    if ax is None:
        height = max(4.6, 0.22 * len(drawn))
        ax = new_axes(1, 1, (7.2, height))[0]
    low, high = find_limits([x.delta_m for x in drawn.values()], limit)
    front = _front(drawn)
    ax.axhline(0, color=TEXT_COLOR, linewidth=0.8)
    _draw_front(ax, [drawn[name] for name in front], low, high)
    for name, method in drawn.items():
        _draw_method(ax, method, name in front, low, high)
    _scale_axes(ax, list(drawn.values()), low, high)
    style(ax, grid="both", hidden=["top", "right"])
    ax.set_xlabel(_label_of_time(result))
    ax.set_ylabel(label_of_delta_m(result))
    missing = [name for name in methods if name not in drawn]
    if missing:
        ax.set_title(f"not defined: {', '.join(missing)}", loc="left", size=9)
    _name(ax, drawn, low, high)
    return ax


def _read(result: Any) -> dict[str, Method]:
    if not hasattr(result, "summary"):
        return {
            x: Method(*pair_of(t), *pair_of(y)) for x, (t, y) in result.items()
        }
    times = _relative_times(result)
    return {
        name: Method(*times[name], *entry["delta_m"])
        for name, entry in result.summary().items()
    }


def _relative_times(result: Any) -> dict[str, tuple[float, float]]:
    """Returns the mean and standard deviation of the times, seed by seed."""
    seconds: dict[str, dict[int, float]] = {}
    for x in result.records:
        of_label = seconds.setdefault(x["label"], {})
        of_label[x["seed"]] = x["seconds_per_step"]
    unit = seconds[result.time_unit()]
    times = {}
    for label, by_seed in seconds.items():
        ratios = [by_seed[seed] / unit[seed] for seed in by_seed]
        deviation = statistics.stdev(ratios) if len(ratios) > 1 else math.nan
        times[label] = statistics.fmean(ratios), deviation
    return times


def _label_of_time(result: Any) -> str:
    if hasattr(result, "time_unit"):
        return f"time of a step ({result.time_unit()} = 1)"
    return "time of a step"


def _front(methods: Mapping[str, Method]) -> list[str]:
    """Returns those that no other beats in both, the fastest first."""
    front, best = [], math.inf
    by_time = sorted(
        methods, key=lambda x: (methods[x].time, methods[x].delta_m)
    )
    for name in by_time:
        if methods[name].delta_m < best:
            front.append(name)
            best = methods[name].delta_m
    return front


def _draw_front(
    ax: "Axes", methods: Sequence[Method], low: float, high: float
) -> None:
    ax.plot(
        [x.time for x in methods],
        [min(max(x.delta_m, low), high) for x in methods],
        color=GREY,
        linewidth=3,
        solid_capstyle="round",
        zorder=1.5,
    )


def _draw_method(
    ax: "Axes", method: Method, is_best: bool, low: float, high: float
) -> None:
    is_whole = low <= method.delta_m <= high
    color = COLORS[0] if is_best else "0.45"
    marker = "o" if is_whole else ("^" if method.delta_m > high else "v")
    ax.errorbar(
        method.time,
        min(max(method.delta_m, low), high),
        xerr=_bar(method.time_deviation) or None,
        yerr=(_bar(method.delta_m_deviation) if is_whole else 0.0) or None,
        fmt=marker,
        markersize=6,
        color=color,
        ecolor=color if is_best else "0.7",
        elinewidth=1.0,
        zorder=3 if is_best else 2.5,
    )


def _bar(deviation: float) -> float:
    return deviation if math.isfinite(deviation) else 0.0


def _scale_axes(
    ax: "Axes", methods: Sequence[Method], low: float, high: float
) -> None:
    from matplotlib.ticker import FixedLocator
    from matplotlib.ticker import NullLocator
    from matplotlib.ticker import StrMethodFormatter

    times = [x.time for x in methods]
    if min(times) > 0 and max(times) > WIDE * min(times):
        ax.set_xscale("log")
        ticks = [m * 10.0**e for e in range(-6, 7) for m in (1, 2, 5)]
        ax.xaxis.set_major_locator(FixedLocator(ticks))
        ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        ax.xaxis.set_minor_locator(NullLocator())
    ax.margins(x=0.12, y=0.08)
    left, right = ax.get_xlim()
    # A hundredth of a step is noise, which a narrow axis would blow up.
    missing = max(0.0, NARROW * max(times) - (right - left))
    ax.set_xlim(left - missing / 3, right + 2 * missing / 3)
    bottom, top = ax.get_ylim()
    ax.set_ylim(bottom, top)
    if math.isfinite(low) or math.isfinite(high):
        ax.set_yticks([y for y in ax.get_yticks() if low < y < high])
        ax.set_ylim(bottom, top)


def _name(
    ax: "Axes", methods: Mapping[str, Method], low: float, high: float
) -> None:
    names, points, bars = [], [], []
    for name, x in methods.items():
        is_whole = low <= x.delta_m <= high
        names.append(
            name if is_whole else f"{name}: {signed(x.delta_m, 0, '+')} %"
        )
        points.append((x.time, min(max(x.delta_m, low), high)))
        height = _bar(x.delta_m_deviation) if is_whole else 0.0
        bars.append((_bar(x.time_deviation), height))
    name_points(ax, names, points, bars)
