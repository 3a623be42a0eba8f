from keras import ops

from keras_mtl.backend.numerics import Tensor
from keras_mtl.weightings.registry import register
from keras_mtl.weightings.weighting import Weighting


@register(
    "equal",
    package="keras_mtl",
    paper="Equal weighting, the sum of the losses",
    when="The baseline to compare with; enough if no task suffers.",
    abbreviation="EW",
)
class Equal(Weighting):
    """Weights every task by 1: plain Keras.

    Example:

    >>> keras_mtl.weightings.Equal()(np.array([0.5, 2.0]))
    [1.0, 1.0]
    """

    def compute_weights(self, losses: Tensor) -> Tensor:
        return ops.ones_like(losses)
