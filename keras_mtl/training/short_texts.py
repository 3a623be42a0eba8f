"""Numbers and names in a few characters, for a line of the terminal."""

import math
import os
import re
from collections.abc import Mapping
from collections.abc import Sequence


def short_number(value: float) -> str:
    """Returns a number with three significant digits.

    Example:

    >>> short_number(0.01234), short_number(33.12), short_number(3257.8)
    ('0.0123', '33.1', '3258')
    >>> short_number(1.5e-6), short_number(float("nan")), short_number(0.0)
    ('1.50e-6', 'nan', '0')
    """
    value = float(value)
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    size = abs(float(f"{value:.2e}"))
    if not 1e-3 <= size < 1e5:
        return re.sub(r"e([+-])0*", r"e\1", f"{value:.2e}").replace("e+", "e")
    return f"{value:.{max(0, 2 - math.floor(math.log10(size)))}f}"


def short_names(names: Sequence[str], width: int = 8) -> dict[str, str]:
    """Shortens names that are longer than `width`, and keeps them apart.

    What all begin with is left out, then the middle of a name.

    Returns:
        Dict of name to short name.

    Example:

    >>> short_names(["segmentation", "depth"])
    {'segmentation': 'segm…ion', 'depth': 'depth'}
    >>> short_names(["toxicity_1", "toxicity_12"])
    {'toxicity_1': 'tox1', 'toxicity_12': 'tox12'}
    """
    short = list(names)
    if len(short) > 1 and max(map(len, short)) > width:
        common = re.match(r".*[-_. ]|", os.path.commonprefix(short))[0]
        if all(len(name) > len(common) for name in short):
            short = [name[len(common) :] for name in short]
        if any(name[0].isdigit() for name in short):
            # A number alone would be taken for a loss.
            short = [common[:3] + name for name in short]
    cut = short
    while width < max(map(len, short), default=0):
        cut = [_without_middle(name, width) for name in short]
        if len(set(cut)) == len(set(short)):
            break
        width, cut = width + 4, short
    return dict(zip(names, cut))


def _without_middle(name, width):
    if len(name) <= width:
        return name
    return f"{name[: width - 4]}…{name[-3:]}"


def losses_in(
    width: int, title: str, total: float, losses: Mapping[str, float]
) -> str:
    """Returns a sum and the losses of the tasks in one line.

    Where not all of them fit, they are the largest ones and the smallest.

    Args:
        width: Greatest number of characters.
        title: What the losses are.
        total: Their sum.
        losses: Dict of the short name of a task to its loss.

    Example:

    >>> losses = {"a": 1.0, "b": 30.0, "c": 4.0, "d": 0.5}
    >>> losses_in(80, "loss", 35.5, losses)
    'loss 35.5: a 1.00 b 30.0 c 4.00 d 0.500'
    >>> losses_in(32, "loss", 35.5, losses)
    'loss 35.5: b 30.0 … d 0.500'
    """
    head = f"{title} {short_number(total)}"
    if not losses:
        return head
    texts = {name: f"{name} {short_number(x)}" for name, x in losses.items()}
    line = f"{head}: {' '.join(texts.values())}"
    if len(line) <= width:
        return line
    order = sorted(losses, key=lambda name: _size(losses[name]), reverse=True)
    *largest, smallest = [texts[name] for name in order]
    tail = f" … {smallest}"
    line = f"{head}:"
    for text in largest:
        if len(line) + 1 + len(text) + len(tail) > width:
            break
        line = f"{line} {text}"
    if line.endswith(":"):
        # The largest one alone is worth more than the smallest.
        tail = f" {largest[0]} …"
    line += tail
    return line if len(line) <= width else head


def _size(loss):
    return math.inf if math.isnan(loss) else loss
