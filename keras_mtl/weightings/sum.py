from keras import ops

from keras_mtl.backend.numerics import Tensor
from keras_mtl.weightings.gradient_weighting import GradientWeighting
from keras_mtl.weightings.registry import register


@register(
    "sum",
    package="keras_mtl",
    paper="Equal weighting, the sum of the gradients",
    when="To see what gradient balancing costs: it learns as equal.",
)
class Sum(GradientWeighting):
    """Sums the task gradients: `Equal`, by way of the gradients.

    The reference for what gradient balancing costs, and what a loss-balancing
    method is chained with to clip the norm of its direction.

    Example:

    >>> sum_ = keras_mtl.weightings.Sum(max_norm=1.0)
    >>> sum_.aggregate(np.array([[3.0, 0.0], [0.0, 4.0]]))
    [0.6, 0.8]
    """

    def compute_weights(self, losses: Tensor, gramian: Tensor) -> Tensor:
        return ops.ones_like(losses)
