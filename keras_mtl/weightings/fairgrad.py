import math

import keras

from keras_mtl.solvers.fairgrad import fair_weights
from keras_mtl.weightings.weighting import GradientWeighting


@keras.saving.register_keras_serializable(package="keras_mtl")
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

    paper = "Ban et al., Fair Resource Allocation in Multi-Task Learning"
    year = 2024

    def __init__(self, alpha=2.0, **kwargs):
        super().__init__(**kwargs)
        if not 0 < alpha < math.inf:
            raise ValueError(
                "Expected `alpha` to be positive and finite. "
                f"Received: alpha={alpha}"
            )
        self.alpha = alpha

    def compute_weights(self, losses, gramian):
        return fair_weights(gramian, self.alpha)
