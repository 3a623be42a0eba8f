from typing import Any

import keras
from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import TINY
from keras_mtl.backend.numerics import Tensor
from keras_mtl.weightings.own_optimizer import OwnOptimizer
from keras_mtl.weightings.registry import register
from keras_mtl.weightings.weighting import Weighting

# The gradient is about 1, and the loss over its usual value where a batch has
# a loss that is much larger.
MAX_GRADIENT = 10.0


@register(
    "imtl_l",
    package="keras_mtl",
    paper="Liu et al., Towards Impartial Multi-Task Learning",
    year=2021,
)
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

    needs_positive_losses = True

    def __init__(
        self, learning_rate: float | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.learning_rate = checks.positive(
            "learning_rate", learning_rate, optional=True
        )

    @property
    def needs_learning_rate(self) -> bool:
        return self.learning_rate is None

    def build_state(self, num_tasks: int) -> None:
        self.log_scale = self.add_state((num_tasks,), name="log_scale")
        adam = keras.optimizers.Adam(self.learning_rate or 1e-3)
        self.optimizer = OwnOptimizer(adam, self.log_scale, MAX_GRADIENT)
        self.optimizer_state = self.optimizer.variables

    def compute_weights(self, losses: Tensor) -> Tensor:
        weights = ops.exp(self.log_scale)
        if self.needs_learning_rate:
            self.optimizer.set_learning_rate(ops.copy(self.model_learning_rate))
        gradient = weights * losses - 1.0
        self.optimizer.descend_where(losses > TINY, gradient)
        return weights
