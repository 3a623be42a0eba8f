from keras import ops

from keras_mtl.backend.numerics import Tensor
from keras_mtl.solvers.dual_cone import dual_cone_projection
from keras_mtl.weightings.preference import PreferenceWeighting
from keras_mtl.weightings.registry import register


@register(
    "upgrad",
    package="keras_mtl",
    paper="Quinton et al., Jacobian Descent for Multi-Objective Optimization",
    year=2024,
    when="No step should harm a task; large gradients may count more.",
)
class UPGrad(PreferenceWeighting):
    """UPGrad: each gradient, freed from its conflicts, and then their mean.

    Each gradient is projected onto the dual cone: the directions that conflict
    with no gradient. The direction is the mean of the projections, or their sum
    with the weights `preference`. It conflicts with no gradient, and scaling a
    gradient scales its contribution and nothing else.

    Args:
        preference: List of `T` non-negative numbers, the weights of the
            projections, or `None` for 1 / T each.
        **kwargs: See `GradientWeighting` (`gradients`, `shared`,
            `update_every`, `max_norm`, `weigh_heads`).

    Example:

    >>> upgrad = keras_mtl.weightings.UPGrad()
    >>> upgrad.aggregate(np.array([[1.0, 0.0], [-1.0, 1.0]]))
    [0.25, 0.75]

    Reference:
        - [Quinton and Rey, 2024](https://arxiv.org/abs/2406.16232), equation 3
          and Proposition 1.
    """

    def default_preference(self, num_tasks: int) -> float:
        return 1.0 / num_tasks

    def compute_weights(self, losses: Tensor, gramian: Tensor) -> Tensor:
        projections = dual_cone_projection(gramian, ops.eye(self.num_tasks))
        return ops.sum(self.preferred()[:, None] * projections, axis=0)
