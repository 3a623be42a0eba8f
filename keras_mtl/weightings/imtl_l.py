import math

import keras
from keras import ops

from keras_mtl.backend.numerics import TINY
from keras_mtl.weightings.weighting import Weighting


@keras.saving.register_keras_serializable(package="keras_mtl")
class IMTLL(Weighting):
    """IMTL-L: learns scales that bring all losses to 1.

    The objective is Σ exp(s) L − s in the network's parameters and in the
    scales s, which start at 0. For a constant loss the best scale is
    s = −log L. The gradient exp(s) L − 1 is known, so that the weighting takes
    Adam's step in s itself, once per call (in the paper, s is trained with the
    network by the network's optimizer). Losses must be positive: a task whose
    loss is not gets no weight in that step, and keeps its scale.

    The objective is twice that of `Uncertainty` in its regression form, with
    s = −log σ²: the weights are twice as large.

    Args:
        learning_rate: Learning rate of the scales. By default that of the
            model at each step (0.001 without a model).

    Example:

    >>> keras_mtl.weightings.IMTLL()(np.array([1.0, 3.0]))
    [1.0, 1.0]

    Reference:
        - [Liu et al., 2021](https://openreview.net/forum?id=IMPnRXEWpvr),
          section 3.2.
    """

    paper = "Liu et al., Towards Impartial Multi-Task Learning"
    year = 2021
    needs_positive_losses = True

    def __init__(self, learning_rate=None, **kwargs):
        super().__init__(**kwargs)
        if learning_rate is not None and not 0 < learning_rate < math.inf:
            raise ValueError(
                "Expected `learning_rate` to be positive and finite or None. "
                f"Received: learning_rate={learning_rate}"
            )
        self.learning_rate = learning_rate

    @property
    def needs_learning_rate(self):
        return self.learning_rate is None

    def build_state(self, num_tasks):
        self.log_scale = self.add_state((num_tasks,), name="log_scale")
        self.optimizer = self.add_optimizer(
            keras.optimizers.Adam(self.learning_rate or 1e-3),
            [self.log_scale],
        )

    def compute_weights(self, losses):
        weights = ops.exp(self.log_scale)
        if self.needs_learning_rate:
            rate = ops.copy(self.model_learning_rate)
            self.optimizer.learning_rate = rate
        gradient = weights * losses - 1.0
        self.train_where(losses > TINY, gradient, self.log_scale)
        return weights
