from keras import ops

from keras_mtl.backend.numerics import Tensor
from keras_mtl.weightings.gradient_weighting import GradientWeighting
from keras_mtl.weightings.registry import register


@register(
    "mean",
    package="keras_mtl",
    paper="Equal weighting, the mean of the gradients",
    when="A baseline with the step length of upgrad and cagrad.",
)
class Mean(GradientWeighting):
    """Averages the task gradients.

    The direction of `Sum` divided by the number of tasks, the scale of
    `UPGrad`, `DualProj` and `CAGrad`. The heads get their plain gradients.

    Example:

    >>> mean = keras_mtl.weightings.Mean()
    >>> mean.aggregate(np.array([[3.0, 0.0], [0.0, 4.0]]))
    [1.5, 2.0]
    """

    def compute_weights(self, losses: Tensor, gramian: Tensor) -> Tensor:
        return ops.full((self.num_tasks,), 1.0 / self.num_tasks)
