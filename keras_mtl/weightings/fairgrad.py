from typing import Any

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import Tensor
from keras_mtl.solvers.fairgrad import fair_weights
from keras_mtl.weightings.gradient_weighting import GradientWeighting
from keras_mtl.weightings.registry import register


@register(
    "fairgrad",
    package="keras_mtl",
    paper="Ban et al., Fair Resource Allocation in Multi-Task Learning",
    year=2024,
)
class FairGrad(GradientWeighting):
    """FairGrad: α-fair shares of the improvement.

    The weights w > 0 solve G w = w^(-1/α), with G the Gramian of the gradients:
    the direction that maximizes Σ (g_i · d)^(1-α) / (1-α) on a ball. The larger
    α, the more the least improved task counts; α = 1 is `NashMTL` without its
    limit of the norm. The direction conflicts with no gradient.

    The official code solves the equation by least squares on the host, then
    multiplies the direction by T and limits its norm to 1; the paper does
    neither (see `max_norm`).

    Args:
        alpha: The fairness α, a positive number; 0 would be `Sum`. The default
            is that of the official experiments. Float32 is exact enough for
            0.5 to 5.
        **kwargs: See `GradientWeighting` (`gradients`, `shared`,
            `update_every`, `max_norm`, `weigh_heads`).

    Example:

    >>> fairgrad = keras_mtl.weightings.FairGrad(alpha=2.0)
    >>> fairgrad(np.ones(2), np.array([[1.0, 0.0], [0.0, 8.0]]))
    [1.0, 0.25]

    Reference:
        - [Ban and Ji, 2024](https://arxiv.org/abs/2402.15638), equation 4 and
          Algorithm 1.
    """

    def __init__(self, alpha: float = 2.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.alpha = checks.positive("alpha", alpha)

    def compute_weights(self, losses: Tensor, gramian: Tensor) -> Tensor:
        return fair_weights(gramian, self.alpha)
