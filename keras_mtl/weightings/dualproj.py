from keras_mtl.backend.numerics import Tensor
from keras_mtl.solvers.dual_cone import dual_cone_projection
from keras_mtl.weightings.preference import PreferenceWeighting
from keras_mtl.weightings.registry import register


@register(
    "dualproj",
    package="keras_mtl",
    paper="Lopez-Paz et al., Gradient Episodic Memory for Continual Learning",
    year=2017,
    when="The mean gradient, changed only where it would harm a task.",
)
class DualProj(PreferenceWeighting):
    """DualProj: the mean gradient, freed from its conflicts.

    The direction is the projection of the mean gradient, or of the sum with the
    weights `preference`, onto the dual cone: the nearest direction that
    conflicts with no gradient. (Gradient episodic memory projects the gradient
    of a new task so.)

    Args:
        preference: List of `T` non-negative numbers, the weights of the
            gradients in the sum, or `None` for 1 / T each.
        **kwargs: See `GradientWeighting` (`gradients`, `shared`,
            `update_every`, `max_norm`, `weigh_heads`).

    Example:

    >>> dualproj = keras_mtl.weightings.DualProj()
    >>> dualproj.aggregate(np.array([[1.0, 0.0], [-3.0, 1.0]]))
    [0.0, 0.5]

    Reference:
        - [Lopez-Paz and Ranzato, 2017](https://arxiv.org/abs/1706.08840),
          section 3.
        - [Quinton and Rey, 2024](https://arxiv.org/abs/2406.16232), which
          gives it this name; equation 3 and Proposition 1.
    """

    def default_preference(self, num_tasks: int) -> float:
        return 1.0 / num_tasks

    def compute_weights(self, losses: Tensor, gramian: Tensor) -> Tensor:
        return dual_cone_projection(gramian, self.preferred()[None])[0]
