from typing import Any

from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import Tensor
from keras_mtl.solvers.cagrad import conflict_averse
from keras_mtl.solvers.nonnegative import product
from keras_mtl.solvers.nonnegative import unit_gramian
from keras_mtl.solvers.simplex import simplex_qp
from keras_mtl.weightings.gradient_weighting import GradientWeighting
from keras_mtl.weightings.registry import register

# The weight of the mean is this minus κ, that of the norm κ.
OFFSET = 1.5
# Below this ratio of the two, one task has all the weight in g_w.
MIN_RATIO = 1e-2
# Squared norm of a sum, relative to its parts', that counts as zero.
MIN_CANCELLATION = 1e-6


@register(
    "imgrad",
    package="keras_mtl",
    paper="Zhou et al., Injecting Imbalance Sensitivity",
    year=2025,
    when="As cagrad; where one task dominates, the worst gets more.",
)
class IMGrad(GradientWeighting):
    """IMGrad: CAGrad that looks at the imbalance of the gradients.

    The direction is g₀ + c ‖g₀‖ g_w / ‖g_w‖, with g₀ the mean gradient and g_w
    the combination of the gradients on the simplex that minimizes
    (1.5 - κ) g_w · g₀ + κ c ‖g₀‖ ‖g_w‖. κ is the cosine between g₀ and the
    direction of `MGDA`, from 0 to 1. The less the two agree, because a task
    dominates the mean, the more g_w is the gradient of the task that loses most
    by it. With κ = 0.75 the direction is that of `CAGrad`.

    The formula is that of the official code for three tasks, whose 1.5 has no
    name and is no argument. The code then divides the direction by 1 + c², and
    multiplies it by T, "to match the sum loss": both are left out here, as in
    `CAGrad`. At a Pareto-stationary point, κ is 0.

    Args:
        c: Norm of what is added to the mean gradient, in units of its norm. The
            default is that of the official experiments.
        **kwargs: See `GradientWeighting` (`gradients`, `shared`,
            `update_every`, `max_norm`, `rescale`, `weigh_heads`).

    Example:

    >>> imgrad = keras_mtl.weightings.IMGrad(c=0.5)
    >>> imgrad.aggregate(np.array([[1.0, 0.0], [0.0, 1.0]]))
    [0.75, 0.75]

    Reference:
        - [Zhou et al., 2025](https://arxiv.org/abs/2503.08006), and `imgrad` in
          `nyuv2/utils.py` of its official code.
    """

    def __init__(self, c: float = 0.8, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.c = checks.positive("c", c)

    def compute_weights(self, losses: Tensor, gramian: Tensor) -> Tensor:
        cosine = _cosine_of_mean_and_shortest(gramian)
        ratio = ops.maximum(cosine / (OFFSET - cosine), MIN_RATIO)
        return conflict_averse(gramian, self.c * ratio, length=self.c)


def _cosine_of_mean_and_shortest(gramian):
    """Returns κ, 0 where the shortest vector of the convex hull is zero."""
    cosines, norms, _ = unit_gramian(gramian)
    shortest = _in_largest(simplex_qp(gramian) * norms)
    mean = _in_largest(norms)
    products = product(shortest[None], cosines)[0]
    squared = ops.sum(shortest * products)
    known = squared > MIN_CANCELLATION * ops.square(ops.sum(shortest))
    squared = squared * ops.sum(mean * product(mean[None], cosines)[0])
    known = ops.logical_and(known, squared > 0)
    cosine = ops.sum(mean * products) / ops.sqrt(ops.where(known, squared, 1.0))
    return ops.where(known, ops.clip(cosine, 0.0, 1.0), 0.0)


def _in_largest(parts):
    """Returns non-negative numbers in units of the largest one."""
    largest = ops.max(parts)
    return parts / ops.where(largest > 0, largest, 1.0)
