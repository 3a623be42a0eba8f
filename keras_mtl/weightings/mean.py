import keras
from keras import ops

from keras_mtl.weightings.weighting import GradientWeighting


@keras.saving.register_keras_serializable(package="keras_mtl")
class Mean(GradientWeighting):
    """Averages the task gradients.

    The direction of `Sum` divided by the number of tasks, the scale of
    `UPGrad`, `DualProj` and `CAGrad`. The heads get their plain gradients.

    Example:

    >>> mean = keras_mtl.weightings.Mean()
    >>> mean.aggregate(np.array([[3.0, 0.0], [0.0, 4.0]]))
    [1.5, 2.0]
    """

    paper = "Equal weighting, the mean of the gradients"

    def compute_weights(self, losses, gramian):
        return ops.full((self.num_tasks,), 1.0 / self.num_tasks)
