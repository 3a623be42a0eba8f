"""Plots of weights, losses, gradients and Δm. They need matplotlib."""

import math

import keras
import numpy as np

# Okabe and Ito's colours, which colour-blind readers tell apart, without the
# yellow that is faint on white.
COLORS = [
    *["#0072B2", "#D55E00", "#009E73", "#CC79A7"],
    *["#E69F00", "#56B4E9", "#000000"],
]
LINE_STYLES = ["-", "--", ":", "-."]
MARKERS = ["", "o", "s", "^", "D"]
TEXT_COLOR = "0.15"
FONT_SIZE = 9


def task_weights(history, ax=None):
    """Plots the weight of each task over the epochs.

    The scale is logarithmic where the weights span decades.

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

    Returns:
        The axes, or for several panels an array of them, shape `(panels,)`.

    Raises:
        ValueError: If there are no weights in `history`.
        ImportError: If matplotlib is not installed.
    """

    def series(values):
        weights = {x: values.get(f"weight/{x}") for x in _tasks(values)}
        return {task: x for task, x in weights.items() if x is not None}

    return _plot(history, ax, series, "mean weight of the epoch")


def task_losses(history, ax=None, validation=False):
    """Plots the loss of each task over the epochs.

    The scale is logarithmic where the losses span decades.

    Example:

    >>> history = {
    ...     "weight/seg": [1.0, 1.0], "weight/depth": [1.0, 1.0],
    ...     "seg_loss": [0.7, 0.5], "depth_loss": [90.0, 3.0],
    ... }
    >>> keras_mtl.plots.task_losses(history).get_yscale()
    'log'

    Args:
        history: As of `task_weights`.
        ax: As of `task_weights`.
        validation: Whether to plot the losses on the validation data.

    Returns:
        The axes, or for several panels an array of them, shape `(panels,)`.

    Raises:
        ValueError: If there are no such losses in `history`.
        ImportError: If matplotlib is not installed.
    """
    prefix = "val_" if validation else ""

    def series(values):
        losses = {x: values.get(f"{prefix}{x}_loss") for x in _tasks(values)}
        return {task: x for task, x in losses.items() if x is not None}

    label = "validation loss" if validation else "training loss"
    return _plot(history, ax, series, label)


def task_selection(log, ax=None, window=None):
    """Plots which tasks were chosen over the steps, and with what reward.

    The first panel has the share of each task in the steps, the second the
    mean of its rewards, and the third the probability with which it was chosen:
    that of the policy, where it had been chosen last. All are means over a
    window of steps, of which a task may have none.

    Example:

    >>> log = keras_mtl.selection.SelectionLog(tasks=["cola", "sst2"])
    >>> for step in range(100):
    ...     log.append(step % 2, propensity=0.5, reward=step / 100)
    >>> axes = keras_mtl.plots.task_selection(log)
    >>> axes[0].get_ylabel()
    'share of steps'

    Args:
        log: A `SelectionLog`, or what has one as `log`, as a `TaskSampler`.
        ax: Three `matplotlib.axes.Axes`. By default, those of a new figure.
        window: Number of steps of which each point is the mean. By default, a
            fiftieth of the log, and at least ten steps per task.

    Returns:
        Array of the axes, shape `(3,)`.

    Raises:
        ValueError: If the log is empty.
        ImportError: If matplotlib is not installed.
    """
    log = getattr(log, "log", log)
    if not len(log):
        raise ValueError("Expected a log with steps. Received: an empty log")
    if window is None:
        window = max(len(log) // 50, 10 * len(log.tasks))
    axes = _new_axes(1, 3, (9.4, 3.0), sharey=False) if ax is None else ax
    axes = np.ravel(np.array(axes, dtype=object))
    if len(axes) != 3:
        raise ValueError(f"Expected `ax` to be 3 axes. Received: {len(axes)}")
    steps, panels = _windows(log, min(window, len(log)))
    labels = "share of steps", "mean reward", "probability"
    for ax, label, values in zip(axes, labels, panels, strict=True):
        for i, task in enumerate(log.tasks):
            _draw_line(ax, task, values[i], steps, i)
        _style(ax, grid="y", hidden=["top", "right"])
        ax.set_ylabel(label)
        ax.set_xlabel("step")
    for ax in axes[[0, 2]]:
        ax.set_ylim(bottom=0)
    _add_legend(axes, log.tasks)
    return axes


def _windows(log, size):
    """Returns the middle steps of windows, and means of shape `(3, T, n)`."""
    count = -(-len(log) // size)
    windows = np.arange(len(log)) // size
    starts = np.arange(count) * size
    ends = np.minimum(starts + size, len(log))
    panels = np.zeros((3, len(log.tasks), count))
    for i in range(len(log.tasks)):
        own = log.task_indices == i
        chosen = np.bincount(windows[own], minlength=count)
        panels[0, i] = chosen / (ends - starts)
        for panel, values in ((1, log.rewards), (2, log.propensities)):
            sums = np.bincount(windows[own], values[own], minlength=count)
            means = sums / np.where(chosen, chosen, math.nan)
            panels[panel, i] = means
    return ((starts + ends) / 2).tolist(), panels


def gradient_cosines(cosines, tasks=None, ax=None):
    """Plots the cosines between the gradients of the tasks as a heat map.

    Conflicts, which are negative, are red, agreement is blue. The diagonal,
    which is always 1, is left out, and so is a task without a gradient.

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
        ValueError: If there are no such cosines.
        ImportError: If matplotlib is not installed.
    """
    is_dict = isinstance(cosines, dict)
    panels = cosines if is_dict else {"": cosines}
    tasks = _names_of(panels, tasks)
    matrices = [_mean_cosines(x, len(tasks)) for x in panels.values()]
    if ax is None:
        side = max(2.0, 0.8 + 0.36 * len(tasks))
        columns = min(len(panels), 4)
        rows = math.ceil(len(panels) / columns)
        size = (1.5 + side * columns, 0.4 + side * rows)
        axes = _new_axes(rows, columns, size, sharex=False, sharey=False)
        for unused in axes[len(panels) :]:
            unused.remove()
        axes = axes[: len(panels)]
    else:
        axes = _axes(ax, len(panels))
    limit = _round_up(max(map(_largest, matrices)))
    for ax, title, matrix in zip(axes, panels, matrices, strict=True):
        image = _draw_matrix(ax, matrix, tasks, limit)
        ax.set_title(title, loc="left", fontsize=FONT_SIZE + 1)
    bar = axes[0].figure.colorbar(image, ax=list(axes), shrink=0.8)
    bar.set_label("cosine of the gradients", fontsize=FONT_SIZE)
    bar.ax.tick_params(labelsize=FONT_SIZE)
    bar.outline.set_visible(False)
    return axes if is_dict else axes[0]


def _names_of(panels, tasks):
    for cosines in panels.values():
        tasks = tasks or getattr(cosines, "tasks", None)
    if not tasks:
        types = [type(cosines).__name__ for cosines in panels.values()]
        raise ValueError(
            "Expected a `GradientCosines` of a training, or arrays of cosines "
            f"and `tasks`. Received: {types}, tasks={tasks}"
        )
    return list(tasks)


def _mean_cosines(cosines, num_tasks):
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


def _largest(matrix):
    return np.nanmax(np.abs(matrix), initial=0.0)


def _round_up(value):
    """Rounds up to a tenth: scales of several figures then agree more often."""
    return min(1.0, max(0.1, math.ceil(10 * value - 1e-9) / 10))


def _draw_matrix(ax, matrix, tasks, limit):
    from matplotlib.colors import LinearSegmentedColormap

    colors = LinearSegmentedColormap.from_list(
        "conflict", [COLORS[1], "white", COLORS[0]]
    ).with_extremes(bad="0.9")
    image = ax.imshow(matrix, cmap=colors, vmin=-limit, vmax=limit)
    ax.set_xticks(range(len(tasks)), tasks, rotation=90)
    ax.set_yticks(range(len(tasks)), tasks)
    ax.tick_params(labelsize=FONT_SIZE, length=0)
    ax.spines[:].set_visible(False)
    if len(tasks) <= 8:
        for i, j in np.argwhere(np.isfinite(matrix)):
            text = f"{matrix[i, j]:.2f}".replace("0.", ".").replace("-", "−")
            ax.text(
                *(j, i, text),
                horizontalalignment="center",
                verticalalignment="center",
                fontsize=FONT_SIZE - 2,
                color=TEXT_COLOR,
            )
    return image


def delta_m(result, ax=None):
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
        ax = _new_axes(1, 1, size)[0]
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
    _style(ax, grid="x", hidden=["top", "right", "left"])
    return ax


def _baseline_of(result):
    return "baseline" if isinstance(result.baseline, dict) else result.baseline


def _with_spread(mean, deviation):
    if not math.isfinite(mean):
        return "not defined"
    spread = f" ± {deviation:.1f}" if math.isfinite(deviation) else ""
    return f"{mean:+.1f}{spread}".replace("-", "−")


def _plot(history, axes, series, label):
    histories = _histories(history)
    panels = [series(values) for _, values, _ in histories]
    if not all(panels):
        raise ValueError(
            f"Expected `history` to have the {label} of tasks. "
            f"Received: a history with {list(histories[0][1])}"
        )
    tasks = list(dict.fromkeys(task for panel in panels for task in panel))
    axes = _axes(axes, len(panels))
    is_log = _spans_decades(panels)
    for ax, panel, (title, _, epochs) in zip(
        axes, panels, histories, strict=True
    ):
        for task, values in panel.items():
            _draw_line(ax, task, values, epochs, tasks.index(task))
        _style(ax, grid="y", hidden=["top", "right"])
        _set_scales(ax, is_log)
        ax.set_title(title or "", loc="left", fontsize=FONT_SIZE + 1)
    _label_axes(axes, label)
    if len(panels) == 1:
        _label_lines(axes[0])
        return axes[0]
    _add_legend(axes, tasks)
    return axes


def _histories(history):
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
        (str(title), *rest)
        for title, values in history.items()
        for _, *rest in _histories(values)
    ]


def _tasks(values):
    # A training with a `TaskSampler` has shares in place of weights.
    for prefix in "weight/", "share/":
        keys = [key for key in values if key.startswith(prefix)]
        if keys:
            return [key.removeprefix(prefix) for key in keys]
    return []


def _axes(axes, count):
    if axes is None:
        columns = (
            count if count < 4 else math.ceil(count / math.ceil(count / 4))
        )
        rows = math.ceil(count / columns)
        size = (6.8, 3.8)
        if count > 1:
            size = (1.6 + 2.6 * columns, 0.4 + 2.3 * rows)
        axes = _new_axes(rows, columns, size)
        for unused in axes[count:]:
            unused.remove()
        return axes[:count]
    axes = np.ravel(np.array(axes, dtype=object))
    if len(axes) != count:
        raise ValueError(
            f"Expected `ax` to be {count} axes, one a history. "
            f"Received: {len(axes)}"
        )
    return axes


def _new_axes(rows, columns, size, sharex=True, sharey=True):
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "keras_mtl.plots needs matplotlib: pip install keras-mtl[plots]"
        ) from error
    # Of pyplot's state only this, by which notebooks show the figure.
    _, axes = plt.subplots(
        rows,
        columns,
        figsize=size,
        sharex=sharex,
        sharey=sharey,
        squeeze=False,
        layout="constrained",
    )
    return axes.ravel()


def _spans_decades(panels):
    values = [
        np.asarray(x, "float64") for panel in panels for x in panel.values()
    ]
    values = np.concatenate(values)
    values = values[np.isfinite(values)]
    return bool(
        values.size and values.min() > 0 and values.max() > 20 * values.min()
    )


def _draw_line(ax, task, values, epochs, index):
    values = np.asarray(values, "float64")
    values[~np.isfinite(values)] = math.nan
    # Validation may happen every few epochs only.
    every = max(1, len(epochs) // max(1, len(values)))
    cycle = index // len(COLORS)
    marker = MARKERS[cycle % len(MARKERS)]
    ax.plot(
        np.array(epochs[every - 1 :: every][: len(values)]),
        values,
        label=task,
        color=COLORS[index % len(COLORS)],
        linestyle=LINE_STYLES[cycle % len(LINE_STYLES)],
        linewidth=1.6,
        # A single epoch is no line.
        marker=marker or ("o" if len(values) == 1 else ""),
        markersize=4,
        markevery=(cycle, max(1, len(values) // 6)) if marker else None,
    )


def _style(ax, grid, hidden):
    ax.spines[hidden].set_visible(False)
    ax.grid(axis=grid, color="0.9", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.tick_params(labelsize=FONT_SIZE)


def _set_scales(ax, is_log):
    ax.set_yscale("log" if is_log else "linear")
    ax.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)


def _label_axes(axes, label):
    specs = [ax.get_subplotspec() for ax in axes]
    for i, (ax, spec) in enumerate(zip(axes, specs, strict=True)):
        below = [s for s in specs[i + 1 :] if s and spec and _is_below(s, spec)]
        if not below:
            ax.set_xlabel("epoch")
            ax.tick_params(axis="x", labelbottom=True)
        if spec is None or spec.is_first_col() or len(axes) == 1:
            ax.set_ylabel(label)


def _is_below(spec, other):
    return spec.colspan == other.colspan and spec.rowspan.start > (
        other.rowspan.start
    )


def _label_lines(ax):
    """Names each line at its end, the names spread so that none overlap."""
    ax.margins(x=0.02)
    # Before the limits are asked for, they do not yet contain the lines.
    ax.get_ylim()
    ends = sorted((*_end(ax, line), i) for i, line in enumerate(ax.get_lines()))
    height = ax.get_window_extent().height * 72 / ax.figure.dpi
    gap = 1.3 * FONT_SIZE / max(height, 1.0)
    positions = _spread([y for y, _, _ in ends], gap)
    for (y, x, i), position in zip(ends, positions, strict=True):
        line = ax.get_lines()[i]
        ax.annotate(
            line.get_label(),
            xy=(x, y),
            xytext=(1.05, position),
            xycoords=("data", "axes fraction"),
            textcoords="axes fraction",
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


def _end(ax, line):
    """Returns the height, as part of that of `ax`, and the epoch of the end."""
    epochs, values = line.get_data()
    finite = np.isfinite(values)
    if not finite.any():
        return 0.0, epochs[-1]
    point = ax.transData.transform((epochs[finite][-1], values[finite][-1]))
    return ax.transAxes.inverted().transform(point)[1], epochs[finite][-1]


def _spread(positions, gap):
    """Moves sorted positions as little as needed to be `gap` apart.

    Where neighbours overlap, they move to the mean of where each would put the
    group. All stay between 0 and 1, if there is room.
    """
    groups = []
    for i, position in enumerate(positions):
        groups.append([position - i * gap, 1])
        while len(groups) > 1 and groups[-2][0] > groups[-1][0]:
            start, size = groups.pop()
            other, other_size = groups[-1]
            total = size + other_size
            mean = (start * size + other * other_size) / total
            groups[-1] = [mean, total]
    starts = [start for start, size in groups for _ in range(size)]
    highest = max(0.0, 1.0 - gap * (len(positions) - 1))
    return [
        min(max(start, 0.0), highest) + i * gap
        for i, start in enumerate(starts)
    ]


def _add_legend(axes, tasks):
    lines = {x.get_label(): x for ax in axes for x in ax.get_lines()}
    axes[0].figure.legend(
        [lines[task] for task in tasks],
        tasks,
        loc="outside right center",
        frameon=False,
        fontsize=FONT_SIZE,
        handlelength=2.8,
    )
