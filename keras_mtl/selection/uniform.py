import numpy as np

from keras_mtl.selection.policy import Policy
from keras_mtl.selection.registry import register


@register("uniform", package="keras_mtl")
class Uniform(Policy):
    """Policy that chooses each task with the same probability.

    Example:

    >>> policy = keras_mtl.selection.Uniform()
    >>> policy.build([9000, 500, 500, 50])
    >>> policy.probabilities
    [0.25, 0.25, 0.25, 0.25]

    Reference:
        [Glover and Hokamp, 2019](https://arxiv.org/abs/1907.06214), equation 3.
    """

    @property
    def probabilities(self) -> np.ndarray:
        self.require_built()
        return np.full(self.num_tasks, 1 / self.num_tasks)
