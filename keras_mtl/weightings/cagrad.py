import math

import keras

from keras_mtl.solvers.cagrad import conflict_averse
from keras_mtl.weightings.weighting import GradientWeighting


@keras.saving.register_keras_serializable(package="keras_mtl")
class CAGrad(GradientWeighting):
    """CAGrad: the best for the worst task, near the mean gradient.

    The direction d maximizes min_i g_i · d over the ball
    ‖d - g₀‖ ≤ c ‖g₀‖ around the mean gradient g₀. It is g₀ for c = 0, and
    conflicts with no gradient for c ≥ 1.

    `rescale` divides the direction, as an argument of the official code does,
    by 1 (`0`, the paper's Algorithm 1), 1 + c² (`1`, that code's default) or
    1 + c (`2`). The official code then multiplies it by T, "to match the sum
    loss".

    Args:
        c: Radius of the ball in units of ‖g₀‖.
        rescale: 0, 1 or 2.
        **kwargs: See `GradientWeighting` (`gradients`, `shared`,
            `update_every`, `max_norm`, `weigh_heads`).

    Example:

    >>> cagrad = keras_mtl.weightings.CAGrad(c=0.5)
    >>> cagrad.aggregate(np.array([[1.0, 0.0], [0.0, 1.0]]))
    [0.75, 0.75]

    Reference:
        - [Liu et al., 2021](https://arxiv.org/abs/2110.14048), section 3
          and Algorithm 1.
    """

    paper = "Liu et al., Conflict-Averse Gradient Descent"
    year = 2021

    def __init__(self, c=0.4, rescale=0, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= c < math.inf:
            raise ValueError(
                f"Expected `c` to be finite and not negative. Received: c={c}"
            )
        if rescale not in (0, 1, 2):
            raise ValueError(
                "Expected `rescale` to be 0, 1 or 2. "
                f"Received: rescale={rescale}"
            )
        self.c = c
        self.rescale = rescale

    def compute_weights(self, losses, gramian):
        divisor = (1.0, 1.0 + self.c**2, 1.0 + self.c)[self.rescale]
        return conflict_averse(gramian, self.c) / divisor
