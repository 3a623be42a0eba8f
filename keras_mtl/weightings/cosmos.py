from collections.abc import Sequence
from typing import Any

from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import TINY
from keras_mtl.backend.numerics import Tensor
from keras_mtl.weightings.preferred_losses import PreferredLosses
from keras_mtl.weightings.registry import register

# A gradient of the cosine that is smaller, in units of 1 / |L|, is zero.
ROUNDING = 1e-6


@register(
    "cosmos",
    package="keras_mtl",
    paper="Ruchte and Grabocka, Scalable Pareto Front Approximation",
    year=2021,
    when="Losses should stand in a ratio that you choose.",
)
class COSMOS(PreferredLosses):
    """COSMOS: a weighted sum that rewards losses along the preference.

    The objective is r · L − λ cos(r, L), with r the preference; the weights are
    its gradient. The cosine asks for losses in the ratio of r. Of the paper's
    method it is the objective for one preference: there, a network takes r as
    an input as well, and r is drawn anew for each batch.

    A weight may be negative: a loss that is small for its preference may rise.
    A task without a label takes no part, and has weight 0.

    Args:
        preference: List of `T` positive floats r, or `None`: 1 / T each.
        similarity: λ, what the cosine counts; the paper's are 0.01 to 8,
            depending on the data.
        **kwargs: See `Weighting`.

    Example:

    >>> cosmos = keras_mtl.weightings.COSMOS(similarity=1.0)
    >>> cosmos(np.array([3.0, 4.0]))
    [0.4773726, 0.5169706]

    Reference:
        - [Ruchte and Grabocka, 2021](https://arxiv.org/abs/2103.13392),
          equation 5.
    """

    def __init__(
        self,
        preference: Sequence[float] | None = None,
        similarity: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(preference, **kwargs)
        self.similarity = checks.non_negative("similarity", similarity)

    def compute_weights(self, losses: Tensor) -> Tensor:
        labelled = ops.not_equal(losses, 0.0)
        preference = ops.where(labelled, self.preferences(), 0.0)
        # Unit vectors: the squares of large losses leave the range of float32.
        largest = ops.maximum(ops.max(ops.abs(losses)), TINY)
        length = ops.sqrt(ops.sum(ops.square(losses / largest)))
        length = ops.maximum(length, TINY)
        unit = losses / largest / length
        norm = ops.sqrt(ops.sum(ops.square(preference)))
        wanted = preference / ops.maximum(norm, TINY)
        # The gradient of the cosine is at a right angle to the losses.
        turn = wanted - ops.sum(wanted * unit) * unit
        # Where the losses stand in the ratio, rounding would be left of it.
        off = ops.max(ops.abs(turn)) > ROUNDING
        turn = ops.where(off, turn, 0.0) / largest / length
        weights = preference - self.similarity * turn
        return ops.where(labelled, weights, 0.0)
