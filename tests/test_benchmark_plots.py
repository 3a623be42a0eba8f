"""The figures that compare the weightings of a benchmark."""

import io
import itertools
import math
import warnings

import numpy as np
import pytest

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

from matplotlib import colors  # noqa: E402
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.text import Text  # noqa: E402

from keras_mtl import plots  # noqa: E402
from keras_mtl.benchmarking import BenchmarkResult  # noqa: E402
from keras_mtl.plots.axes import COLORS  # noqa: E402

pytestmark = pytest.mark.any_backend

QM9 = {
    "equal": (83.4, 4.4),
    "scale_invariant": (19.3, 3.3),
    "random": (115.4, 11.1),
    "dwa": (83.5, 4.6),
    "uncertainty": (17.3, 0.7),
    "igb_v1": (17.6, 2.4),
    "bandit_mtl": (361.2, 11.0),
    "nash_mtl": (22.7, 3.8),
}


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def draw(ax):
    """Draws the figure; a warning of matplotlib is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ax.figure.savefig(io.BytesIO(), format="png")


def make_result(baseline=None, higher_is_better=()):
    history = {}
    for task in "seg", "depth":
        for key in f"weight/{task}", f"{task}_loss":
            history[key] = [1.0, 2.0]
    records = [
        {
            "label": label,
            "seed": seed,
            "seconds_per_step": seconds * (1.0 + seed),
            "metrics": {"seg_loss": value + seed, "depth_loss": 1.0},
            "history": history,
        }
        for label, value, seconds in [
            ("equal", 2.0, 1.0),
            ("igb_v1", 1.0, 1.0),
            ("nash_mtl", 6.0, 3.0),
        ]
        for seed in (0, 1)
    ]
    return BenchmarkResult(
        records,
        ["seg_loss", "depth_loss"],
        ["equal", "igb_v1", "nash_mtl"],
        baseline=baseline,
        higher_is_better=higher_is_better,
    )


def labels(ax):
    return [x.get_text() for x in ax.get_yticklabels()]


def texts(ax):
    return [x.get_text() for x in ax.texts if x.get_text() != "/"]


def strokes(ax):
    return sum(x.get_text() == "/" for x in ax.texts)


def test_benchmark_result():
    axes = plots.task_losses(make_result())
    titles = [ax.get_title("left") for ax in axes]
    assert titles == ["equal", "igb_v1", "nash_mtl"]


def test_delta_m():
    result = {
        **{"c": np.nan, "equal": 0.0, "a": (-20.0, 2.0)},
        **{"b": (5.0, np.nan), "d": -0.04, "e": math.inf},
    }
    ax = plots.delta_m(result)
    assert labels(ax) == ["a", "d", "equal", "b", "c", "e"]
    widths = [patch.get_width() for patch in ax.patches]
    assert widths == [-20.0, -0.04, 0.0, 5.0, 0.0, 0.0]
    undefined = ["not defined"] * 2
    assert texts(ax) == ["−20.0 ± 2.0", "+0.0", "+0.0", "+5.0", *undefined]
    better, worse = ax.patches[0].get_facecolor(), ax.patches[3].get_facecolor()
    assert colors.to_hex(better) == COLORS[0].lower()
    assert colors.to_hex(worse) == COLORS[1].lower()
    draw(ax)
    assert labels(plots.delta_m(result, sort=False)) == list(result)
    with pytest.raises(ValueError, match="at least one"):
        plots.delta_m({})


@pytest.mark.parametrize("side", [1, -1])
def test_delta_m_survives_an_outlier(side):
    ax = plots.delta_m({x: (side * y, z) for x, (y, z) in QM9.items()})
    bars = dict(zip(labels(ax), ax.patches, strict=True))
    assert strokes(ax) == 2
    assert f"{'−' if side < 0 else '+'}361.2 ± 11.0" in texts(ax)
    for label, bar in bars.items():
        if label == "bandit_mtl":
            # It is the longest, and still fits.
            assert 115.4 < side * bar.get_width() < 200
        else:
            assert bar.get_width() == pytest.approx(side * QM9[label][0])
    # There are no numbers on the axis beyond the break.
    assert max(abs(ax.get_xticks())) < side * bars["bandit_mtl"].get_width()
    draw(ax)
    whole = plots.delta_m(QM9, limit=math.inf)
    assert not strokes(whole) and whole.get_xlim()[1] > 372
    assert strokes(plots.delta_m(QM9, limit=80.0)) == 8
    for limit in (0, -1.0, math.nan):
        with pytest.raises(ValueError, match=f"Received: limit={limit}"):
            plots.delta_m(QM9, limit=limit)


@pytest.mark.parametrize(
    "values, broken",
    [
        ([1.0, -20.0], 0),
        ([0.0, 0.0], 0),
        ([0.0, 1.0, -20.0, 4000.0], 1),
        ([-2.0, -3.0, 1.0, -2.5, 30.0], 1),
        ([-400.0], 0),
        ([1.0, 1.0, 1.0, 6.0, 11.0], 2),
        # They follow each other without a gap.
        ([1.0, 2.0, 4.0, 8.0, 16.0, 32.0], 0),
        ([-2.0, -3.0, 1.0, -2.5, 300.0, -300.0], 2),
        ([math.nan, 3.0], 0),
    ],
)
def test_which_bars_are_broken(values, broken):
    ax = plots.delta_m({str(i): x for i, x in enumerate(values)})
    assert strokes(ax) == 2 * broken
    # Every bar and its number is within the axes.
    draw(ax)
    frame = ax.get_window_extent()
    for text in ax.texts:
        box = text.get_window_extent()
        assert frame.x0 - 1 <= box.x0 and box.x1 <= frame.x1 + 1


def test_numbers_beside_short_bars_are_off_the_names():
    values = {"a": (-20.0, 2.6), "a long name": (30.0, 40.9), "b": (1.0, 32.0)}
    figure, axes = plt.subplots(1, 2, figsize=(8, 2.5), layout="constrained")
    for ax in axes:
        plots.delta_m(values, ax=ax)
    draw(axes[0])
    for ax in axes:
        frame = ax.get_window_extent()
        for text in ax.texts:
            box = text.get_window_extent()
            assert frame.x0 <= box.x0 and box.x1 <= frame.x1


@pytest.mark.parametrize(
    "baseline, name",
    [(None, "equal"), ({"seg_loss": 1.0, "depth_loss": 1.0}, "the baseline")],
)
def test_delta_m_of_a_result(baseline, name):
    ax = plots.delta_m(make_result(baseline))
    expected = make_result(baseline).summary()
    widths = {
        label: patch.get_width()
        for label, patch in zip(labels(ax), ax.patches, strict=True)
    }
    assert widths == {x: expected[x]["delta_m"][0] for x in expected}
    assert list(widths.values()) == sorted(widths.values())
    assert ax.get_xlabel() == f"Δm against {name} (%), lower is better"
    draw(ax)


def overlaps(boxes):
    count = 0
    for a, b in itertools.combinations(boxes, 2):
        width = min(a.x1, b.x1) - max(a.x0, b.x0)
        height = min(a.y1, b.y1) - max(a.y0, b.y0)
        # The boxes include the space above and below the letters.
        count += width > 0 and height > 0.35 * min(a.height, b.height)
    return count


@pytest.mark.parametrize("count", [2, 8, 16, 39])
def test_names_of_cost_and_quality_do_not_overlap(count):
    rng = np.random.default_rng(0)
    ax = plots.cost_and_quality(
        {
            f"method_{i}": ((1 + 0.02 * rng.random(), 0.01), (x, 0.3))
            for i, x in enumerate(rng.normal(size=count))
        }
    )
    draw(ax)
    boxes = [Text.get_window_extent(text) for text in ax.texts]
    assert len(boxes) == count and not overlaps(boxes)
    frame = ax.figure.bbox
    for box in boxes:
        assert frame.x0 <= box.x0 and box.x1 <= frame.x1
        assert frame.y0 <= box.y0 and box.y1 <= frame.y1


def points(ax):
    """Returns the points in the order in which they were drawn."""
    lines = [x.lines[0] for x in ax.containers]
    return [tuple(x.get_xydata()[0]) for x in lines]


def test_cost_and_quality():
    result = {
        "equal": (1.0, 0.0),
        "igb_v1": ((1.1, 0.02), (-20.0, 1.0)),
        "cagrad": (1.05, 5.0),
        "nash_mtl": (2.0, (-25.0, 1.0)),
        "broken": (1.0, math.nan),
    }
    ax = plots.cost_and_quality(result)
    assert points(ax) == [(1, 0), (1.1, -20), (1.05, 5), (2, -25)]
    assert set(texts(ax)) == {"equal", "igb_v1", "cagrad", "nash_mtl"}
    assert ax.get_title("left") == "not defined: broken"
    # Those that none beats in both are joined, and blue.
    front = next(x for x in ax.lines if len(x.get_xdata()) == 3)
    assert front.get_xydata().tolist() == [[1, 0], [1.1, -20], [2, -25]]
    blue = [x.lines[0].get_color() == COLORS[0] for x in ax.containers]
    assert blue == [True, True, False, True]
    has_bars = [bool(x.lines[2]) for x in ax.containers]
    assert has_bars == [False, True, False, True]
    assert (ax.get_xscale(), ax.get_yscale()) == ("linear", "linear")
    assert ax.get_xlabel() == "time of a step"
    assert ax.get_ylabel() == "Δm (%), lower is better"
    draw(ax)
    given = Figure().subplots()
    assert plots.cost_and_quality(result, given) is given
    with pytest.raises(ValueError, match="finite time and Δm.*nan"):
        plots.cost_and_quality({"broken": (1.0, math.nan)})


def test_cost_and_quality_of_a_wide_range():
    result = {x: (1.0, y) for x, y in QM9.items()}
    result["nash_mtl"] = (9.0, (22.7, 3.8))
    ax = plots.cost_and_quality(result)
    assert ax.get_xscale() == "log"
    low, high = ax.get_xlim()
    shown = [x for x in ax.get_xticks() if low <= x <= high]
    assert shown == [1, 2, 5, 10]
    # What leaves the others behind is at the upper edge, with its value.
    assert "bandit_mtl: +361 %" in texts(ax)
    assert ax.get_ylim()[1] < 200
    (edge,) = [x for x in ax.containers if x.lines[0].get_marker() == "^"]
    assert 115.4 < edge.lines[0].get_ydata()[0] < ax.get_ylim()[1]
    draw(ax)
    ax = plots.cost_and_quality(result, limit=math.inf)
    assert ax.get_ylim()[1] > 361 and "bandit_mtl" in texts(ax)


def test_a_narrow_range_of_times_is_not_blown_up():
    ax = plots.cost_and_quality({"a": (1.0, 0.0), "b": (1.003, -1.0)})
    low, high = ax.get_xlim()
    assert low < 1.0 < 1.003 < high and high - low > 0.25


def test_cost_and_quality_of_a_result():
    ax = plots.cost_and_quality(make_result())
    summary = make_result().summary()
    # Seed by seed, the times are those of `equal` times 1, 1 and 3.
    expected = [
        (t, summary[x]["delta_m"][0])
        for x, t in [("equal", 1.0), ("igb_v1", 1.0), ("nash_mtl", 3.0)]
    ]
    assert points(ax) == expected
    assert ax.get_xlabel() == "time of a step (equal = 1)"
    assert ax.get_ylabel() == "Δm against equal (%), lower is better"
    draw(ax)


RESULTS = {
    "a": {"x": 3.0, "y": 1.0, "z": 5.0},
    "b": {"x": 1.0, "y": 2.0, "z": 5.0},
    "c": {"x": 2.0, "y": 3.0, "z": math.nan},
}


def test_task_ranks():
    ax = plots.task_ranks(RESULTS)
    assert labels(ax) == ["b", "a", "c"]
    assert [x.get_text() for x in ax.get_xticklabels()] == ["x", "y", "z"]
    (image,) = ax.get_images()
    ranks = [[1, 2, 1.5], [3, 1, 1.5], [2, 3, 3]]
    assert image.get_array().tolist() == ranks
    assert image.get_clim() == (1, 3)
    written = [x.strip() for x in texts(ax)]
    assert written[:9] == ["1", "2", "1.5", "3", "1", "1.5", "2", "3", "3"]
    assert written[9:] == ["mean rank", "1.5 ± 0.5", "1.8 ± 1.0", "2.7 ± 0.6"]
    draw(ax)
    for higher, first in [("x", "a"), (True, "a"), (False, "b")]:
        ax = plots.task_ranks(RESULTS, higher_is_better=higher)
        assert labels(ax)[0] == first
    given = Figure().subplots()
    assert plots.task_ranks(RESULTS, given) is given


def test_task_ranks_with_an_unknown_name():
    with pytest.raises(ValueError, match="name tasks.*Received: .'w'"):
        plots.task_ranks(RESULTS, higher_is_better=["w"])


def test_task_ranks_of_a_result():
    ax = plots.task_ranks(make_result())
    assert labels(ax) == ["igb_v1", "equal", "nash_mtl"]
    ax = plots.task_ranks(make_result(higher_is_better=["seg_loss"]))
    assert labels(ax) == ["nash_mtl", "equal", "igb_v1"]


@pytest.mark.parametrize("count", [1, 14, 60])
def test_task_ranks_of_many_tasks(count):
    rng = np.random.default_rng(0)
    tasks = [f"class{i}" for i in range(count)]
    ax = plots.task_ranks(
        {x: dict(zip(tasks, rng.random(count), strict=True)) for x in "abcde"}
    )
    draw(ax)
    assert len(ax.texts) == 6 + (5 * count if count <= 20 else 0)
    assert ax.figure.get_size_inches()[0] < 13
    boxes = [x.get_window_extent() for x in ax.get_xticklabels()]
    for left, right in itertools.pairwise(boxes):
        assert right.x0 - left.x0 > 0.7 * left.width


@pytest.mark.parametrize("result", [{}, {"a": 1.0}])
def test_no_ranks(result):
    with pytest.raises(ValueError, match="Expected a `BenchmarkResult`.*Rec"):
        plots.task_ranks(result)
