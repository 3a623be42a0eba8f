from typing import Any

from keras import ops

from keras_mtl.backend.numerics import TINY
from keras_mtl.backend.numerics import Tensor
from keras_mtl.weightings.registry import register
from keras_mtl.weightings.trained_scales import TrainedScales


@register(
    "imtl_l",
    package="keras_mtl",
    paper="Liu et al., Towards Impartial Multi-Task Learning",
    year=2021,
    when="Losses differ in scale: learned factors bring each to 1.",
)
class IMTLL(TrainedScales):
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
        learning_rate: Learning rate of the scales. The default is that of
            `Uncertainty`. `None` is the model's rate at each step (0.001
            without a model), as in the paper.
        **kwargs: See `Weighting` (`scale_invariant`, `floor`).

    Example:

    >>> keras_mtl.weightings.IMTLL()(np.array([1.0, 3.0]))
    [1.0, 1.0]

    Reference:
        - [Liu et al., 2021](https://openreview.net/forum?id=IMPnRXEWpvr),
          section 3.2.
    """

    needs_positive_losses = True
    divides_by_losses = True

    def __init__(
        self, learning_rate: float | None = 0.025, **kwargs: Any
    ) -> None:
        super().__init__(learning_rate, **kwargs)

    def build_state(self, num_tasks: int) -> None:
        self.log_scale = self.add_state((num_tasks,), name="log_scale")
        self.make_optimizer(self.log_scale)

    def compute_weights(self, losses: Tensor) -> Tensor:
        weights = ops.exp(self.log_scale)
        self.descend_where(losses > TINY, weights * losses - 1.0)
        return weights
