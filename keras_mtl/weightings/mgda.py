from typing import Any

from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import Tensor
from keras_mtl.backend.numerics import inverse
from keras_mtl.solvers.simplex import simplex_qp
from keras_mtl.weightings.gradient_weighting import GradientWeighting
from keras_mtl.weightings.registry import register

NORMALIZATIONS = ("none", "l2", "loss", "loss+")


@register(
    "mgda",
    package="keras_mtl",
    paper="Sener et al., Multi-Task Learning as Multi-Objective Optimization",
    year=2018,
    when="Steps should help all tasks alike; small gradients lead.",
)
class MGDA(GradientWeighting):
    """MGDA: the shortest vector in the convex hull of the gradients.

    The weights α on the simplex minimize ‖Σ α_i g_i‖². The direction improves
    all tasks by the same amount (those with α_i = 0 by more), or is zero where
    no direction improves them all. With `gradients="features"` it is MGDA-UB.

    `normalization` divides the gradients by `"l2"`, their norms, `"loss"`, the
    losses, or `"loss+"`, both; the weights are then α divided by the same. (The
    official code, which alone has normalizations, looks for α with the divided
    gradients and combines the others, which may conflict with its direction.
    It also takes the Frank-Wolfe steps of Algorithm 2; this is the exact
    minimizer.)

    A task whose gradient is zero, such as one without a label in the batch, is
    left out, else the direction would be zero; so is one whose loss is not
    positive, if the loss divides.

    Args:
        normalization: `"none"`, `"l2"`, `"loss"` or `"loss+"`.
        weigh_heads: Whether the weights act on the tasks' own parameters, too,
            as in the official code.
        **kwargs: See `GradientWeighting` (`gradients`, `shared`,
            `update_every`, `max_norm`).

    Example:

    >>> mgda = keras_mtl.weightings.MGDA()
    >>> mgda(np.ones(2), np.array([[1.0, 0.0], [0.0, 4.0]]))
    [0.8, 0.2]

    Reference:
        - [Sener and Koltun, 2018](https://arxiv.org/abs/1810.04650), equation 3
          and section 3.3.
        - [Désidéri, 2012](https://doi.org/10.1016/j.crma.2012.03.014).
    """

    def __init__(
        self,
        normalization: str = "none",
        weigh_heads: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(weigh_heads=weigh_heads, **kwargs)
        self.normalization = checks.one_of(
            "normalization", normalization, NORMALIZATIONS
        )

    @property
    def needs_positive_losses(self) -> bool:
        return self.normalization in ("loss", "loss+")

    def compute_weights(self, losses: Tensor, gramian: Tensor) -> Tensor:
        factors = ops.ones_like(losses)
        if self.normalization in ("loss", "loss+"):
            factors = factors * inverse(losses)
        if self.normalization in ("l2", "loss+"):
            factors = factors * inverse(ops.sqrt(ops.diagonal(gramian)))
        return factors * simplex_qp(factors[:, None] * gramian * factors)
