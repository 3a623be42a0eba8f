from collections.abc import Sequence
from typing import Any

from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import TINY
from keras_mtl.backend.numerics import Tensor
from keras_mtl.weightings.registry import register
from keras_mtl.weightings.tchebycheff import Tchebycheff

# A distance from the preferred line below this part of the losses is rounding.
ON_THE_LINE = 1e-6


@register(
    "pbi",
    package="keras_mtl",
    paper="Zhang and Li, MOEA/D (penalty-based boundary intersection)",
    year=2007,
    when="Losses should stand in a ratio that you choose, strictly.",
)
class PBI(Tchebycheff):
    """Penalty-based boundary intersection: losses along a preferred line.

    With r the preference of length 1 and z the ideal point, the objective is
    d₁ + θ d₂: d₁ = (L − z) · r is how far the losses are along the line from z
    in the direction r, and d₂ their distance from it. The weights are its
    gradient. On the line itself, d₂ has none, and counts as 0.

    A weight may be negative: a loss that is small for its preference may rise.
    A task without a label takes no part, and has weight 0.

    Args:
        preference: List of `T` positive floats, or `None`: all alike.
        ideal: The ideal point z, a float or list of `T` floats, or `None`: 0.
        theta: The penalty θ. The paper's is 5.
        **kwargs: See `Weighting`.

    Example:

    >>> pbi = keras_mtl.weightings.PBI(theta=0.5)
    >>> pbi(np.array([1.0, 3.0]))
    [0.3535534, 1.0606602]

    Reference:
        - [Zhang and Li, 2007](https://doi.org/10.1109/TEVC.2007.892759),
          section II.A.3.
    """

    def __init__(
        self,
        preference: Sequence[float] | None = None,
        ideal: float | Sequence[float] | None = None,
        theta: float = 5.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(preference, ideal, **kwargs)
        self.theta = checks.non_negative("theta", theta)

    def compute_weights(self, losses: Tensor) -> Tensor:
        labelled = ops.not_equal(losses, 0.0)
        direction = ops.where(labelled, self.preferences(), 0.0)
        norm = ops.sqrt(ops.sum(ops.square(direction)))
        direction = direction / ops.maximum(norm, TINY)
        distance = ops.where(labelled, self.above_ideal(losses), 0.0)
        # Squares of large losses would leave the range of float32.
        largest = ops.maximum(ops.max(ops.abs(distance)), TINY)
        unit = distance / largest
        across = unit - ops.sum(unit * direction) * direction
        length = ops.sqrt(ops.sum(ops.square(across)))
        off = length > ON_THE_LINE
        across = ops.where(off, across / ops.where(off, length, 1.0), 0.0)
        return direction + self.theta * across
