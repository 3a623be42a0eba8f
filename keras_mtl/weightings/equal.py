import keras
from keras import ops

from keras_mtl.weightings.weighting import Weighting


@keras.saving.register_keras_serializable(package="keras_mtl")
class Equal(Weighting):
    """Weights every task by 1: plain Keras.

    Example:

    >>> keras_mtl.weightings.Equal()(np.array([0.5, 2.0]))
    [1.0, 1.0]
    """

    paper = "Equal weighting, the sum of the losses"

    def compute_weights(self, losses):
        return ops.ones_like(losses)
