"""Which scale shows values: linear, logarithmic, or both."""

import math
import typing
from collections.abc import Iterable

import numpy as np

if typing.TYPE_CHECKING:
    from matplotlib.axes import Axes

# The largest value over the smallest, from which on the scale is logarithmic.
WIDE = 20.0
# The decades below the largest value that a scale with zeros shows.
MOST_DECADES = 8


def set_scale(ax: "Axes", values: Iterable) -> None:
    """Makes the y axis logarithmic where the values span decades.

    With zeros or negative values among them, it is linear around zero and
    logarithmic beyond ("symlog").

    Args:
        ax: The axes.
        values: The arrays that are drawn there.
    """
    from matplotlib.ticker import SymmetricalLogLocator

    numbers = np.concatenate(
        [np.ravel(np.asarray(x, "float64")) for x in values]
    )
    finite = numbers[np.isfinite(numbers)]
    sizes = np.abs(finite[finite != 0])
    if not sizes.size:
        return
    # A line that crosses zero comes close to it, whatever its scale.
    smallest = np.quantile(sizes, 0.1) if finite.min() < 0 else sizes.min()
    if sizes.max() <= WIDE * smallest:
        return
    if finite.min() > 0:
        ax.set_yscale("log")
        return
    lowest = max(smallest, sizes.max() / 10**MOST_DECADES)
    threshold = 10.0 ** math.floor(math.log10(lowest))
    ax.set_yscale("symlog", linthresh=threshold, linscale=0.5)
    # Matplotlib's own choice leaves no room between the decades next to zero.
    locator = SymmetricalLogLocator(linthresh=threshold, base=10)
    locator.set_params(numticks=7)
    ax.yaxis.set_major_locator(locator)
