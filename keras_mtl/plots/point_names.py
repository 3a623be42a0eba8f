"""The names of points in a plane, placed so that they do not overlap.

Each name takes the free place that is nearest to its point; a line leads to
those that are not beside it. It is greedy: the points with the most neighbours
come first, as they have the fewest places to choose from.
"""

import itertools
import math
import typing
from collections.abc import Sequence

import numpy as np

from keras_mtl.plots.axes import FONT_SIZE
from keras_mtl.plots.axes import GREY
from keras_mtl.plots.axes import TEXT_COLOR

if typing.TYPE_CHECKING:
    from matplotlib.axes import Axes

# Left, bottom, right, top, in points.
Box = tuple[float, float, float, float]
MARKER = 4.0
# To the right first, then above, left and below, as names on a map.
ANGLES = [0, 30, -30, 60, -60, 90, -90, 120, -120, 150, -150, 180]
RADII = [9, 14, 20, 28, 38, 50, 66, 86, 110]


def name_points(
    ax: "Axes",
    names: Sequence[str],
    points: Sequence[tuple[float, float]],
    bars: Sequence[tuple[float, float]],
) -> None:
    """Writes the name of each point near it.

    Args:
        ax: The axes, with their final limits. Names stay off its zero line.
        names: The names.
        points: The points, in the units of the axes.
        bars: Half the width and half the height of each point's error bars, in
            these units.
    """
    scale = 72.0 / ax.figure.dpi
    # Constrained layout moves the axes when they are drawn.
    ax.figure.draw_without_rendering()
    places = ax.transData.transform(points) * scale
    corners = np.add(points, bars)
    reach = ax.transData.transform(corners) * scale - places
    frame = ax.get_window_extent()
    window = tuple(scale * np.array(frame.extents))
    zero = ax.transData.transform((0.0, 0.0))[1] * scale
    taken = _marks(places, reach)
    taken.append((window[0], zero - 1.0, window[2], zero + 1.0))
    distances = np.linalg.norm(places[:, None] - places[None], axis=-1)
    crowd = (distances < 60.0).sum(axis=1)
    for i in sorted(range(len(names)), key=lambda i: (-crowd[i], i)):
        width, height = 0.6 * FONT_SIZE * len(names[i]), 1.25 * FONT_SIZE
        box = _free_place(places[i], (width, height), taken, window)
        taken.append(box)
        _write(ax, names[i], points[i], places[i], box)


def _marks(places: np.ndarray, reach: np.ndarray) -> list[Box]:
    """Returns the boxes of the points and of their error bars."""
    boxes = []
    for (x, y), (width, height) in zip(places, np.abs(reach), strict=True):
        boxes.append((x - MARKER, y - MARKER, x + MARKER, y + MARKER))
        boxes.append((x - width, y - 2.0, x + width, y + 2.0))
        boxes.append((x - 2.0, y - height, x + 2.0, y + height))
    return boxes


def _free_place(
    place: np.ndarray,
    size: tuple[float, float],
    taken: Sequence[Box],
    window: Sequence[float],
) -> Box:
    """Returns the nearest box that overlaps least."""
    best, least = None, math.inf
    for radius, angle in itertools.product(RADII, ANGLES):
        box = _box_at(place, size, radius, math.radians(angle))
        overlap = sum(_overlap(box, other) for other in taken)
        outside = size[0] * size[1] - _overlap(box, window)
        cost = overlap + 3.0 * outside + 0.02 * radius
        if cost < least - 1e-9:
            best, least = box, cost
        if overlap + outside < 1e-6:
            break
    return best


def _box_at(
    place: np.ndarray, size: tuple[float, float], radius: float, angle: float
) -> Box:
    """Returns a box whose side toward the point is `radius` away from it."""
    width, height = size
    along, up = math.cos(angle), math.sin(angle)
    x = place[0] + radius * along + (along - 1.0) * width / 2
    y = place[1] + radius * up - height / 2
    return x, y, x + width, y + height


def _overlap(a: Sequence[float], b: Sequence[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0.0) * max(height, 0.0)


def _write(
    ax: "Axes",
    name: str,
    point: tuple[float, float],
    place: np.ndarray,
    box: Box,
) -> None:
    left, bottom, right, top = box
    middle = (bottom + top) / 2
    nearest = float(np.clip(place[0], left, right))
    is_far = math.hypot(nearest - place[0], middle - place[1]) > 16.0
    ax.annotate(
        name,
        xy=point,
        xytext=(left - place[0], middle - place[1]),
        textcoords="offset points",
        verticalalignment="center",
        fontsize=FONT_SIZE,
        color=TEXT_COLOR,
        annotation_clip=False,
        arrowprops={
            "arrowstyle": "-",
            "color": GREY,
            "linewidth": 0.8,
            "shrinkA": 0,
            "shrinkB": 3,
            "relpos": ((nearest - left) / (right - left), 0.5),
        }
        if is_far
        else None,
    )
