from typing import Any

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import Tensor
from keras_mtl.solvers.cagrad import conflict_averse
from keras_mtl.weightings.gradient_weighting import GradientWeighting
from keras_mtl.weightings.registry import register


@register(
    "cagrad",
    package="keras_mtl",
    paper="Liu et al., Conflict-Averse Gradient Descent",
    year=2021,
    when="The mean gradient is about right, but the worst task lags.",
)
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
        rescale: 0, 1 or 2, or `"sum"` as in `GradientWeighting`.
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

    def __init__(
        self, c: float = 0.4, rescale: int | str = 0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.c = checks.non_negative("c", c)
        self.rescale = checks.one_of("rescale", rescale, (0, 1, 2, "sum"))

    def compute_weights(self, losses: Tensor, gramian: Tensor) -> Tensor:
        divisors: dict[Any, float] = {1: 1.0 + self.c**2, 2: 1.0 + self.c}
        divisor = divisors.get(self.rescale, 1.0)
        return conflict_averse(gramian, self.c) / divisor
