import statistics
import typing
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_mtl.metrics.mean_rank import mean_rank
from keras_mtl.plots.axes import COLORS
from keras_mtl.plots.axes import FONT_SIZE
from keras_mtl.plots.axes import TEXT_COLOR
from keras_mtl.plots.axes import new_axes

if typing.TYPE_CHECKING:
    from matplotlib.axes import Axes

# Of more, a cell has no room for a number.
MOST_NUMBERS = 20


def task_ranks(
    result: Any,
    ax: "Axes | None" = None,
    higher_is_better: Sequence[str] | bool | None = None,
) -> "Axes":
    """Plots the rank of each weighting in each task: is one good at all?

    A row is a weighting, the best at the top, and a column a task: 1, and the
    darkest blue, is the best of the column. To the right stand the mean of the
    ranks and their standard deviation over the tasks. Ties share the average of
    their ranks.

    Example:

    >>> ax = keras_mtl.plots.task_ranks({
    ...     "equal": {"seg": 0.40, "depth": 0.51},
    ...     "nash_mtl": {"seg": 0.43, "depth": 0.50},
    ... }, higher_is_better=["seg"])
    >>> ax.get_yticklabels()[0].get_text()
    'nash_mtl'

    Args:
        result: A `BenchmarkResult`, of which the means over the seeds are
            ranked, or a dict of label to a dict of task to value.
        ax: The `matplotlib.axes.Axes` to draw in, by default those of a new
            figure.
        higher_is_better: The tasks for which higher is better, or a boolean for
            all, for dicts. A `BenchmarkResult` knows them.

    Returns:
        The axes.

    Raises:
        ValueError: If there is no weighting or no task, or if the weightings
            have different tasks.
        ImportError: If matplotlib is not installed.
    """
    values, higher = _read(result, higher_is_better)
    means = mean_rank(values, higher)
    labels = sorted(means, key=means.__getitem__)
    tasks = list(next(iter(values.values())))
    columns = [
        mean_rank(
            {label: {task: values[label][task]} for label in labels},
            task in higher,
        )
        for task in tasks
    ]
    ranks = np.array([[column[x] for column in columns] for x in labels])
    if ax is None:
        ax = _new_axes(len(labels), len(tasks))
    _draw_ranks(ax, ranks, labels, tasks)
    return ax


def _read(
    result: Any, higher_is_better: Sequence[str] | bool | None
) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Returns the values by label and task, and where higher is better."""
    if hasattr(result, "summary"):
        values = {
            label: {key: mean for key, (mean, _) in entry["metrics"].items()}
            for label, entry in result.summary().items()
        }
        return values, list(result.higher_is_better)
    if not result or not all(isinstance(x, Mapping) for x in result.values()):
        raise ValueError(
            "Expected a `BenchmarkResult`, or a dict of label to a dict of "
            f"task to value. Received: {result}"
        )
    values = {label: dict(x) for label, x in result.items()}
    if isinstance(higher_is_better, str):
        return values, [higher_is_better]
    if isinstance(higher_is_better, bool):
        tasks = list(next(iter(values.values())))
        return values, tasks if higher_is_better else []
    return values, list(higher_is_better or ())


def _new_axes(num_labels: int, num_tasks: int) -> "Axes":
    width = num_tasks * min(0.45, 9.0 / num_tasks)
    height = num_labels * 0.3
    return new_axes(1, 1, (2.8 + width, 1.1 + height))[0]


def _draw_ranks(
    ax: "Axes", ranks: np.ndarray, labels: Sequence[str], tasks: Sequence[str]
) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    colors = LinearSegmentedColormap.from_list("rank", [COLORS[0], "#EAF2F8"])
    ax.imshow(
        ranks, cmap=colors, vmin=1.0, vmax=max(2, len(labels)), aspect="auto"
    )
    size = min(FONT_SIZE, max(5.5, 420.0 / len(tasks)))
    ax.set_xticks(range(len(tasks)), tasks, rotation=90, fontsize=size)
    ax.set_yticks(range(len(labels)), labels, fontsize=FONT_SIZE)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    if len(tasks) <= MOST_NUMBERS:
        limit = 1.0 + 0.35 * (len(labels) - 1)
        for (i, j), rank in np.ndenumerate(ranks):
            color = "white" if rank <= limit else TEXT_COLOR
            _write(ax, j, i, f"{rank:g}", color, "center")
    edge = len(tasks) - 0.5
    _write(ax, edge, -0.9, "  mean rank", TEXT_COLOR, "left")
    for i, row in enumerate(ranks):
        text = f"  {row.mean():.1f}"
        if len(row) > 1:
            text += f" ± {statistics.stdev(row):.1f}"
        _write(ax, edge, i, text, TEXT_COLOR, "left")


def _write(
    ax: "Axes", x: float, y: float, text: str, color: str, align: str
) -> None:
    ax.text(
        *(x, y, text),
        color=color,
        fontsize=FONT_SIZE,
        horizontalalignment=align,
        verticalalignment="center",
    )
