import math
from collections.abc import Sequence

import numpy as np

from keras_mtl.backend import checks
from keras_mtl.selection.policy import Policy
from keras_mtl.selection.registry import register


@register("size_proportional", package="keras_mtl")
class SizeProportional(Policy):
    """Policy that chooses tasks by the sizes of their data sets.

    The probability of a task is proportional to the number of its examples to
    the power of `1 / temperature`.

    Example:

    >>> policy = keras_mtl.selection.SizeProportional(temperature=2.0)
    >>> policy.build([9000, 1000])
    >>> policy.probabilities
    [0.75, 0.25]

    Args:
        temperature: Positive float. 1 is the policy of the paper, infinity the
            uniform policy.

    Raises:
        ValueError: If `temperature` is not positive; in `build`, if a size is
            not known.

    Reference:
        [Glover and Hokamp, 2019](https://arxiv.org/abs/1907.06214), equation 4,
        which has no temperature.
    """

    def __init__(self, temperature: float = 1.0):
        # An infinite temperature is the uniform policy.
        if temperature != math.inf:
            temperature = checks.positive("temperature", temperature)
        self.temperature = temperature

    def build(self, sizes: Sequence[int | None]) -> None:
        sizes = list(sizes)
        if not all(size and math.isfinite(size) for size in sizes):
            raise ValueError(
                "Expected the number of examples of every task, which "
                f"`SizeProportional` needs. Received: sizes={sizes}"
            )
        super().build(sizes)
        powers = np.log(np.array(sizes, "float64")) / self.temperature
        powers = np.exp(powers - powers.max())
        self._probabilities = powers / powers.sum()

    @property
    def probabilities(self) -> np.ndarray:
        self.require_built()
        return self._probabilities.copy()

    def __repr__(self) -> str:
        return f"SizeProportional(temperature={self.temperature})"
