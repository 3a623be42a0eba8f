import io
import itertools
import sys
import warnings

import keras
import numpy as np
import pytest
from scipy import optimize

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

from matplotlib import colors  # noqa: E402
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.text import Text  # noqa: E402

from keras_mtl import plots  # noqa: E402
from keras_mtl.benchmarking import BenchmarkResult  # noqa: E402
from keras_mtl.plots.axes import COLORS  # noqa: E402
from keras_mtl.plots.axes import GREY  # noqa: E402
from keras_mtl.plots.line_names import spread  # noqa: E402
from keras_mtl.selection import SelectionLog  # noqa: E402
from tests import utils  # noqa: E402

pytestmark = pytest.mark.any_backend

TASKS = ["mu", "alpha", "homo", "lumo", "r2", "zpve"]
TASKS += ["u0", "u", "h", "g", "cv"]


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def make_history(tasks=("seg", "depth"), epochs=4, span=1.0):
    rng = np.random.default_rng(0)
    history = {"loss": [1.0] * epochs, "val_loss": [1.0] * epochs}
    for prefix in ["weight/{}", "{}_loss", "val_{}_loss"]:
        for task in tasks:
            values = 10 ** (span * np.linspace(0.0, -1.0, epochs))
            values *= 1.0 + 0.1 * rng.random(epochs)
            history[prefix.format(task)] = values.tolist()
    return history


def draw(ax):
    """Draws the figure; a warning of matplotlib is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ax.figure.savefig(io.BytesIO(), format="png")


@pytest.mark.parametrize(
    "plot, key, label",
    [
        (plots.task_weights, "weight/{}", "mean weight of the epoch"),
        (plots.task_losses, "{}_loss", "training loss"),
        (
            lambda *args: plots.task_losses(*args, validation=True),
            "val_{}_loss",
            "validation loss",
        ),
    ],
)
def test_lines_are_the_history(plot, key, label):
    history = keras.callbacks.History()
    history.history = make_history()
    history.epoch = [5, 6, 7, 8]
    for given, epochs in [
        (history, [6, 7, 8, 9]),
        (history.history, [1, 2, 3, 4]),
    ]:
        ax = plot(given)
        assert [x.get_label() for x in ax.get_lines()] == ["seg", "depth"]
        for line in ax.get_lines():
            values = history.history[key.format(line.get_label())]
            np.testing.assert_array_equal(line.get_xdata(), epochs)
            np.testing.assert_array_equal(line.get_ydata(), values)
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", label)
        assert sorted(text.get_text() for text in ax.texts) == ["depth", "seg"]
        draw(ax)


@pytest.mark.parametrize(
    "span, scale", [(1.0, "linear"), (2.0, "log"), (12.0, "log")]
)
def test_scale(span, scale):
    history = make_history(span=span)
    assert plots.task_losses(history).get_yscale() == scale
    history["seg_loss"][1] = np.nan
    history["depth_loss"][-1] = np.inf
    ax = plots.task_losses(history)
    assert ax.get_yscale() == scale
    draw(ax)


@pytest.mark.parametrize(
    "span, value, scale",
    [
        (0.5, 0.0, "linear"),
        (2.0, 0.0, "symlog"),
        (12.0, 0.0, "symlog"),
        # A line that crosses zero has values close to it.
        (0.5, -1.0, "linear"),
        (0.0, -1e4, "symlog"),
        (6.0, -1e4, "symlog"),
    ],
)
def test_scale_with_zeros_and_negative_values(span, value, scale):
    history = make_history(epochs=30, span=span)
    history["seg_loss"][2] = value
    ax = plots.task_losses(history)
    assert ax.get_yscale() == scale
    draw(ax)
    low, high = ax.get_ylim()
    ticks = [x for x in ax.get_yticks() if low <= x <= high]
    assert 3 <= len(ticks) <= 12
    # One figure has one scale.
    axes = plots.task_losses({"a": make_history(span=span), "b": history})
    assert {ax.get_yscale() for ax in axes} == {scale}


def test_all_zeros():
    history = make_history()
    history["seg_loss"] = history["depth_loss"] = [0.0] * 4
    ax = plots.task_losses(history)
    assert ax.get_yscale() == "linear"
    draw(ax)


def colours(ax):
    return {x.get_label(): x.get_color() for x in ax.get_lines()}


def test_one_colour_for_a_task_in_all_figures():
    tasks = ["zpve", "mu", "class10", "class2"]
    # So Keras sorts the entries of a history.
    values = dict(sorted(make_history(tasks).items()))
    history = keras.callbacks.History()
    history.history, history.epoch = values, [0, 1, 2, 3]
    ordered = dict(zip(tasks, COLORS, strict=False))
    natural = ["class2", "class10", "mu", "zpve"]
    by_name = dict(zip(natural, COLORS, strict=False))
    assert colours(plots.task_losses(values)) == by_name
    assert colours(plots.task_losses(history)) == by_name
    assert colours(plots.task_weights(values, tasks=tasks)) == ordered

    class Model:
        pass

    Model.tasks = tasks
    history.set_model(Model)
    for plot in plots.task_losses, plots.task_weights:
        assert colours(plot(history)) == ordered
        for ax in plot({"a": values, "b": history}):
            assert colours(ax) == ordered
    log = SelectionLog(tasks)
    log.append(0, 1.0, 1.0)
    assert colours(plots.task_selection(log)[0]) == ordered


def test_colours_of_a_benchmark_are_in_the_order_of_its_metrics():
    history = make_history(["u", "u0", "mu"])
    record = {
        **{"label": "equal", "seed": 0, "seconds_per_step": 1.0},
        "metrics": {"u0_mae": 1.0, "u_mae": 1.0, "mu_mae": 1.0},
        "history": dict(sorted(history.items())),
    }
    result = BenchmarkResult([record], ["u0_mae", "u_mae", "mu_mae"], ["equal"])
    ax = plots.task_losses(result)
    expected = dict(zip(["u0", "u", "mu"], COLORS, strict=False))
    assert colours(ax) == expected


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"tasks": ["seg"]}, r"tasks=\['seg'\], without \['depth'\]"),
        ({"tasks": "seg depth"}, "tasks=seg depth"),
        ({"highlight": ["x"]}, r"of \['seg', 'depth'\].*highlight=\['x'\]"),
        ({"highlight": "seg"}, "highlight=seg"),
    ],
)
def test_wrong_tasks(arguments, message):
    with pytest.raises(ValueError, match=message):
        plots.task_losses(make_history(), **arguments)


@pytest.mark.parametrize("count, named", [(2, 2), (14, 14), (15, 6), (60, 6)])
def test_many_tasks(count, named):
    tasks = [f"class{i}" for i in range(count)]
    history = make_history(tasks, epochs=3)
    for i, task in enumerate(tasks):
        history[f"{task}_loss"] = [5.0, 3.0, 1.0 + (i * 7 % count)]
    ax = plots.task_losses(history)
    assert len(ax.get_lines()) == count
    grey = [x for x in ax.get_lines() if x.get_color() == GREY]
    assert len(grey) == count - named
    names = {text.get_text() for text in ax.texts}
    ends = {x.get_label(): x.get_ydata()[-1] for x in ax.get_lines()}
    order = sorted(ends, key=ends.get)
    expected = order if named == count else [*order[:3], *order[-3:]]
    assert names == set(expected)
    note = f"grey: the other {count - named} tasks" if grey else ""
    assert ax.get_title("left") == note
    draw(ax)
    first, _ = plots.task_losses({"a": history, "b": history})
    (legend,) = first.figure.legends
    texts = [x.get_text() for x in legend.get_texts()]
    assert len(texts) == named + bool(grey)
    assert texts[-1] == (f"{count - named} others" if grey else tasks[-1])
    draw(first)


def test_highlight():
    tasks = [f"class{i}" for i in range(20)]
    ax = plots.task_losses(make_history(tasks), highlight=["class9", "class7"])
    coloured = {x: y for x, y in colours(ax).items() if y != GREY}
    # Those that they have in a figure with all.
    assert coloured == {"class7": COLORS[0], "class9": COLORS[2]}
    assert {x.get_text() for x in ax.texts} == {"class7", "class9"}


def test_a_loss_that_is_not_finite_is_highlighted():
    tasks = [f"class{i}" for i in range(20)]
    history = make_history(tasks)
    history["class5_loss"] = [1.0, 1.0, np.nan, np.nan]
    ax = plots.task_losses(history)
    assert colours(ax)["class5"] != GREY


def test_runaway_weights_are_marked():
    history = make_history(["a", "b", "c", "d"])
    assert not plots.task_weights(history).collections
    history["weight/b"] = [1.0, 900.0, 3e4, 8.76543e5]
    history["weight/c"] = [1.0, 2.0, np.nan, np.nan]
    for weight in "weight/a", "weight/d":
        history[weight] = [1.0] * 4
    history["weight/a"] = [1.0] * 4
    ax = plots.task_weights(history)
    marks = [x.get_offsets().tolist() for x in ax.collections]
    assert marks == [[[3.0, 3e4]], [[2.0, 2.0]]]
    assert ax.get_title("left").split("\n") == [
        "× b: 880,000 times the others",
        "× c: not finite from epoch 3",
    ]
    draw(ax)
    history["weight/b"][-1] = 3.21e9
    history["weight/d"] = [np.inf] * 4
    _, ax = plots.task_weights({"x": make_history(), "title": history})
    assert ax.get_title("left").split("\n") == [
        "title",
        "× b: 3e9 times the others",
        "× d and 1 more: not finite from epoch 1",
    ]
    draw(ax)
    assert not plots.task_losses(history).collections


def test_weights_of_one_task():
    history = {"weight/a": [1.0, 1e6], "a_loss": [1.0, 0.5]}
    ax = plots.task_weights(history)
    assert not ax.collections
    draw(ax)


def test_weights_of_zero_run_nowhere():
    history = make_history(["a", "b", "c"])
    for task, weights in [("a", [0, 0]), ("b", [0, 3]), ("c", [3, 0])]:
        history[f"weight/{task}"] = weights
    ax = plots.task_weights(history)
    assert not ax.collections and ax.get_title("left") == ""


@pytest.mark.parametrize("count", [2, 8, 11, 16, 28, 40, 60])
def test_tasks_look_different(count):
    tasks = [f"task {i}" for i in range(count)]
    ax = plots.task_losses(make_history(tasks, epochs=15), highlight=tasks)
    looks = {
        (line.get_color(), line.get_linestyle(), line.get_marker())
        for line in ax.get_lines()
    }
    assert len(looks) == count


def test_colours_for_the_colour_blind():
    """Colours differ in red-green blindness too (Viénot et al., 1999)."""
    rgb = np.array([colors.to_rgb(color) for color in COLORS])
    linear = np.where(
        rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92
    )
    # To the responses of the cones, and back with one kind missing.
    lms = [
        [17.8824, 43.5161, 4.11935],
        [3.45565, 27.1554, 3.86714],
        [0.0299566, 0.184309, 1.46709],
    ]
    protan = [[0, 2.02344, -2.52581], [0, 1, 0], [0, 0, 1]]
    deutan = [[1, 0, 0], [0.494207, 0, 1.24827], [0, 0, 1]]
    for blindness in [protan, deutan]:
        matrix = np.linalg.inv(lms) @ blindness @ lms
        seen = np.clip(linear @ matrix.T, 0, 1) ** (1 / 2.4)
        distances = [
            np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)
        ]
        assert min(distances) > 0.1


@pytest.mark.parametrize("span", [0.0, 1.0, 3.0])
def test_names_do_not_overlap(span):
    ax = plots.task_losses(make_history(TASKS, epochs=15, span=span))
    draw(ax)
    # That of the names alone, without the lines to them.
    boxes = [Text.get_window_extent(text) for text in ax.texts]
    assert len(boxes) == len(TASKS)
    boxes.sort(key=lambda box: box.y0)
    for lower, upper in itertools.pairwise(boxes):
        # The boxes include the space below the letters.
        assert upper.y0 - lower.y0 > 0.8 * lower.height
    width, height = ax.figure.bbox.size
    assert all(0 < box.x0 and box.x1 < width for box in boxes)
    assert all(0 < box.y0 and box.y1 < height for box in boxes)


def assert_names_are_at_the_ends(ax):
    heights = {x.get_text(): x.get_position()[1] for x in ax.texts}
    ends = {x.get_label(): x.get_ydata()[-1] for x in ax.get_lines()}
    assert heights.keys() == ends.keys()
    for task, value in ends.items():
        point = ax.transData.transform((0, value))
        height = ax.transAxes.inverted().transform(point)[1]
        assert heights[task] == pytest.approx(height, abs=1e-6)


def test_names_are_at_the_ends_of_the_lines():
    history = make_history(["a", "b", "c"])
    history.update(a_loss=[1.0, 9.0], b_loss=[1.0, 5.0], c_loss=[9.0, 1.0])
    ax = plots.task_losses(history)
    draw(ax)
    assert_names_are_at_the_ends(ax)
    ax.set_ylim(-10, 20)
    draw(ax)
    assert_names_are_at_the_ends(ax)
    # The second panel changes the scale of the first.
    left, right = plt.subplots(1, 2, sharey=True)[1]
    plots.task_losses(history, ax=left)
    plots.task_losses({**history, "a_loss": [1.0, 30.0]}, ax=right)
    draw(left)
    assert_names_are_at_the_ends(left)
    assert_names_are_at_the_ends(right)


def test_spread_against_scipy():
    rng = np.random.default_rng(0)
    for count in [1, 2, 5, 11]:
        positions = np.sort(rng.random(count)) * 0.4 + 0.3
        steps = 0.05 * np.arange(count)
        nearest = optimize.isotonic_regression(positions - steps).x + steps
        result = spread(positions.tolist(), 0.05)
        if 0 <= nearest[0] and nearest[-1] <= 1:
            np.testing.assert_allclose(result, nearest, atol=1e-12)
        assert min(result) >= 0 and max(result) <= 1
        assert np.all(np.diff(result) >= 0.05 - 1e-12)
    np.testing.assert_allclose(spread([0.0, 0.0, 0.0], 0.1), [0, 0.1, 0.2])
    np.testing.assert_allclose(spread([1.0, 1.0], 0.1), [0.9, 1.0])


@pytest.mark.parametrize("count", [2, 3, 4, 5, 7])
def test_several_histories(count):
    histories = {f"method {i}": make_history(TASKS) for i in range(count)}
    axes = plots.task_weights(histories)
    assert [ax.get_title("left") for ax in axes] == list(histories)
    (legend,) = axes[0].figure.legends
    assert [text.get_text() for text in legend.get_texts()] == TASKS
    assert len(axes[0].figure.axes) == count
    draw(axes[0])
    for ax in axes:
        assert len(ax.get_lines()) == len(TASKS)
        assert ax.get_ylim() == axes[0].get_ylim()


def test_tasks_of_only_some_histories():
    first, second = plots.task_losses(
        {"a": make_history(["x", "y"]), "b": make_history(["y", "z"])}
    )
    assert first.get_lines()[1].get_color() == second.get_lines()[0].get_color()
    (legend,) = first.figure.legends
    assert [x.get_text() for x in legend.get_texts()] == ["x", "y", "z"]


def test_given_axes():
    figure = Figure()
    axes = figure.subplots(1, 2)
    histories = {"a": make_history(), "b": make_history()}
    assert list(plots.task_weights(histories, axes)) == list(axes)
    assert plots.task_losses(make_history(), axes[0]) is axes[0]
    assert plots.delta_m({"a": 1.0}, axes[1]) is axes[1]
    assert plt.get_fignums() == []
    with pytest.raises(ValueError, match="to be 2 axes.*Received: 1"):
        plots.task_weights(histories, axes[0])


def test_validation_of_some_epochs():
    history = make_history(epochs=6)
    history["val_seg_loss"] = history["val_depth_loss"] = [3.0, 2.0, 1.0]
    ax = plots.task_losses(history, validation=True)
    assert list(ax.get_lines()[0].get_xdata()) == [2, 4, 6]


def test_history_is_not_changed():
    history = make_history()
    history["seg_loss"] = np.array([1.0, np.inf, 2.0, 3.0])
    plots.task_losses(history)
    assert history["seg_loss"][1] == np.inf


def test_one_epoch():
    ax = plots.task_losses(make_history(epochs=1))
    assert ax.get_lines()[0].get_marker() == "o"
    draw(ax)


@pytest.mark.parametrize(
    "history, message",
    [
        ({}, "Received: {} of type"),
        (None, "Received: None of type"),
        ({"loss": [1.0]}, r"mean weight.*Received: a history with \['loss'\]"),
        ({"a": make_history(), "b": {"loss": [1.0]}}, "mean weight"),
    ],
)
def test_no_weights(history, message):
    with pytest.raises(ValueError, match=message):
        plots.task_weights(history)


def make_log(steps=200):
    rng = np.random.default_rng(0)
    log = SelectionLog(["cola", "sst2", "rte"])
    for step in range(steps):
        task = 0 if step < 100 else int(rng.integers(2))
        log.append(task, 1.0 if step < 100 else 0.5, step / 100)
    return log


def test_task_selection():
    log = make_log()
    axes = plots.task_selection(log, window=50)
    lines = [
        {x.get_label(): x.get_ydata() for x in ax.get_lines()} for ax in axes
    ]
    tasks = log.task_indices
    for name, index in [("cola", 0), ("sst2", 1), ("rte", 2)]:
        for i in range(4):
            own = (tasks == index)[50 * i : 50 * i + 50]
            rewards = log.rewards[50 * i : 50 * i + 50][own]
            mean = rewards.mean() if own.any() else np.nan
            np.testing.assert_allclose(lines[0][name][i], own.mean())
            np.testing.assert_allclose(lines[1][name][i], mean)
    np.testing.assert_allclose(lines[2]["cola"], [1.0, 1.0, 0.5, 0.5])
    np.testing.assert_array_equal(
        axes[0].get_lines()[0].get_xdata(), [25, 75, 125, 175]
    )
    (legend,) = axes[0].figure.legends
    assert [x.get_text() for x in legend.get_texts()] == log.tasks
    draw(axes[0])
    assert axes[2].get_title("left") == ""
    log = SelectionLog(["a", "b"])
    for step in range(100):
        log.append(step % 2, 0.5, 1.0)
    axes = plots.task_selection(log)
    assert axes[2].get_title("left") == "0.5 for all tasks"
    assert axes[2].get_ylim()[1] > 0.5
    # The last window is shorter.
    log = make_log(130)
    axes = plots.task_selection(log, window=50)
    np.testing.assert_allclose(
        axes[0].get_lines()[0].get_ydata()[:2], [1.0, 1.0]
    )
    for window in (0, -1):
        with pytest.raises(ValueError, match=f"Received: window={window}"):
            plots.task_selection(log, window=window)
    with pytest.raises(ValueError, match="Received: an empty log"):
        plots.task_selection(SelectionLog(["a"]))
    with pytest.raises(ValueError, match="3 axes.*Received: 1"):
        plots.task_selection(log, Figure().subplots())


def test_task_selection_of_many_tasks():
    rng = np.random.default_rng(0)
    log = SelectionLog([f"task{i}" for i in range(60)])
    for _ in range(2000):
        task = int(60 * rng.random() ** 2)
        log.append(task, 1 / 60, rng.random())
    axes = plots.task_selection(log)
    counts = np.bincount(log.task_indices, minlength=60)
    (legend,) = axes[0].figure.legends
    *names, others = [x.get_text() for x in legend.get_texts()]
    assert len(names) == 6 and others == "54 others"
    assert log.tasks[counts.argmax()] in names
    draw(axes[0])
    axes = plots.task_selection(log, highlight=["task7"])
    (legend,) = axes[0].figure.legends
    assert len(legend.get_texts()) == 2


def test_losses_of_a_training_with_a_sampler():
    history = {"share/seg": [0.5, 0.0], "seg_loss": [1.0, np.nan]}
    ax = plots.task_losses(history)
    assert [line.get_label() for line in ax.get_lines()] == ["seg"]
    with pytest.raises(ValueError, match="mean weight"):
        plots.task_weights(history)


class Recorded:
    tasks = ["a", "b", "c"]
    cosines = np.array(
        [
            [[1.0, -0.4, 0.1], [-0.4, 1.0, np.nan], [0.1, np.nan, np.nan]],
            [[1.0, -0.2, 0.3], [-0.2, 1.0, np.nan], [0.3, np.nan, np.nan]],
        ]
    )


def test_gradient_cosines():
    ax = plots.gradient_cosines(Recorded())
    (image,) = ax.get_images()
    nan = np.nan
    expected = [[nan, -0.3, 0.2], [-0.3, nan, nan], [0.2, nan, nan]]
    np.testing.assert_allclose(image.get_array().filled(nan), expected)
    assert image.get_clim() == (-1.0, 1.0)
    for labels in ax.get_xticklabels(), ax.get_yticklabels():
        assert [label.get_text() for label in labels] == ["a", "b", "c"]
    texts = {x.get_position(): x.get_text() for x in ax.texts}
    assert texts == {
        (1, 0): "−.30",
        (2, 0): ".20",
        (0, 1): "−.30",
        (0, 2): ".20",
    }
    conflict, zero, agreement = (
        colors.to_hex(image.cmap(image.norm(x))) for x in (-1.0, 0.0, 1.0)
    )
    assert [conflict, agreement] == [x.lower() for x in COLORS[1::-1]]
    assert zero in ("#ffffff", "#fefeff", "#fffefe")
    draw(ax)


def test_gradient_cosines_of_several():
    first, second = Recorded.cosines
    axes = plots.gradient_cosines({"1": first, "2": second}, tasks="abc")
    assert [ax.get_title("left") for ax in axes] == ["1", "2"]
    images = [ax.get_images()[0] for ax in axes]
    for image, values in zip(images, (first, second), strict=True):
        assert image.get_clim() == (-1.0, 1.0)
        assert image.get_array()[0, 1] == values[0, 1]
    draw(axes[0])
    figure = Figure()
    given = figure.subplots(1, 2)
    drawn = plots.gradient_cosines({"1": Recorded(), "2": first}, ax=given)
    assert list(drawn) == list(given)
    assert plots.gradient_cosines(Recorded(), ax=given[0]) is given[0]


@pytest.mark.parametrize("count", [14, *utils.further_cases(11, 60)])
def test_gradient_cosines_of_many_tasks(count):
    cosines = np.cos(np.arange(float(count**2))).reshape(count, count)
    tasks = [f"class{i}" for i in range(count)]
    ax = plots.gradient_cosines(cosines, tasks)
    assert not ax.texts and ax.get_images()[0].get_clim() == (-1.0, 1.0)
    draw(ax)
    # Names in the rows do not overlap, and the figure fits on a screen.
    boxes = [x.get_window_extent() for x in ax.get_yticklabels()]
    for upper, lower in itertools.pairwise(boxes):
        assert upper.y0 - lower.y0 > 0.8 * lower.height
    assert ax.figure.get_size_inches().max() < 12.0
    axes = plots.gradient_cosines(dict.fromkeys("abc", cosines), tasks)
    assert axes[0].figure.get_size_inches()[0] <= 14.0


@pytest.mark.parametrize(
    "cosine, text",
    [
        (-0.001, "0"),
        (0.001, "0"),
        (-0.006, "−.01"),
        (0.5, ".50"),
        (1.0, "1.00"),
        (-1.0, "−1.00"),
    ],
)
def test_text_of_a_cosine(cosine, text):
    ax = plots.gradient_cosines([[1.0, cosine], [cosine, 1.0]], "ab")
    assert {x.get_text() for x in ax.texts} == {text}


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([np.eye(2)], "Expected a `GradientCosines`.*tasks=None"),
        ([{}], "Expected a `GradientCosines`"),
        ([np.eye(3), ["a", "b"]], r"of 2 tasks.*Received: shape \(3, 3\)"),
        ([{"x": Recorded(), "y": np.eye(2)}], r"Received: shape \(2, 2\)"),
        ([np.ones(3), ["a", "b", "c"]], r"Received: shape \(3,\)"),
    ],
)
def test_no_gradient_cosines(arguments, message):
    with pytest.raises(ValueError, match=message):
        plots.gradient_cosines(*arguments)


def test_matplotlib_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    monkeypatch.delattr(matplotlib, "pyplot")
    with pytest.raises(ImportError, match=r"pip install matplotlib"):
        plots.task_weights(make_history())
