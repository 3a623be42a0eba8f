from typing import Any

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import Tensor
from keras_mtl.solvers.fairgrad import fair_weights
from keras_mtl.weightings.bargaining import Bargaining
from keras_mtl.weightings.measurement import default_max_norm
from keras_mtl.weightings.registry import register


@register(
    "fairgrad",
    package="keras_mtl",
    paper="Ban et al., Fair Resource Allocation in Multi-Task Learning",
    year=2024,
    when="As nash_mtl; alpha sets how much the worst task counts.",
)
class FairGrad(Bargaining):
    """FairGrad: α-fair shares of the improvement.

    The weights w > 0 solve G w = w^(-1/α), with G the Gramian of the gradients:
    the direction that maximizes Σ (g_i · d)^(1-α) / (1-α) on a ball. The larger
    α, the more the least improved task counts; α = 1 is `NashMTL` without its
    limit of the norm. The direction conflicts with no gradient.

    The direction grows as the gradients vanish, with the power -1/3 of their
    scale for α = 2, and as they become Pareto-stationary. So the official code
    limits its norm to 1, which the paper does not do, and so does this one by
    default. Where float32 does not tell the gradients from Pareto-stationary
    ones, the direction is zero, and close to there all weights are scaled down
    together. (The official code solves the equation by least squares on the
    host, and multiplies the direction by T before it limits the norm.)

    Args:
        alpha: The fairness α, a positive number; 0 would be `Sum`. The default
            is that of the official experiments. Float32 is exact enough for
            0.5 to 5.
        max_norm: Largest norm of the direction on the shared variables, or
            `None`. By default 1, with `rescale="sum"` `None`.
        **kwargs: See `GradientWeighting` (`gradients`, `shared`,
            `update_every`, `weigh_heads`).

    Example:

    >>> fairgrad = keras_mtl.weightings.FairGrad(alpha=2.0)
    >>> fairgrad(np.ones(2), np.array([[1.0, 0.0], [0.0, 8.0]]))
    [1.0, 0.25]

    Reference:
        - [Ban and Ji, 2024](https://arxiv.org/abs/2402.15638), equation 4 and
          Algorithm 1.
    """

    def __init__(
        self,
        alpha: float = 2.0,
        max_norm: float | str | None = "auto",
        **kwargs: Any,
    ) -> None:
        bound: Any = default_max_norm(max_norm, kwargs.get("rescale"))
        super().__init__(max_norm=bound, **kwargs)
        self.alpha = checks.positive("alpha", alpha)

    def compute_weights(self, losses: Tensor, gramian: Tensor) -> Tensor:
        weights = fair_weights(gramian, self.alpha)
        return self._bounded(gramian, weights, 1.0 / self.alpha)
