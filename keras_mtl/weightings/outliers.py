"""Bounds of what a single batch may add to what a weighting remembers."""

from keras import ops

from keras_mtl.backend.numerics import Tensor

# An average with a value that is larger by more would not be one of the others
# for as long as it remembers.
MAX_RATIO = 100.0


def within_reach(
    values: Tensor, usual: Tensor, ratio: float = MAX_RATIO
) -> Tensor:
    """Returns values that are at most `ratio` times what they usually are.

    Args:
        values: Non-negative float tensor.
        usual: Float tensor of that shape, such as an average; 0 where it is
            not known, where the value stays as it is.
        ratio: The largest ratio.
    """
    known = usual > 0
    return ops.where(known, ops.minimum(values, ratio * usual), values)
