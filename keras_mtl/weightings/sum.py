import keras
from keras import ops

from keras_mtl.weightings.weighting import GradientWeighting


@keras.saving.register_keras_serializable(package="keras_mtl")
class Sum(GradientWeighting):
    """Sums the task gradients: `Equal`, by way of the gradients.

    The reference for what gradient balancing costs, and what a loss-balancing
    method is chained with to clip the norm of its direction.

    Example:

    >>> sum_ = keras_mtl.weightings.Sum(max_norm=1.0)
    >>> sum_.aggregate(np.array([[3.0, 0.0], [0.0, 4.0]]))
    [0.6, 0.8]
    """

    paper = "Equal weighting, the sum of the gradients"

    def compute_weights(self, losses, gramian):
        return ops.ones_like(losses)
