from typing import Any

from keras_mtl.backend.numerics import Tensor
from keras_mtl.solvers.nash import nash_bargaining
from keras_mtl.weightings.bargaining import Bargaining
from keras_mtl.weightings.measurement import default_max_norm
from keras_mtl.weightings.registry import register


@register(
    "nash_mtl",
    package="keras_mtl",
    paper="Navon et al., Multi-Task Learning as a Bargaining Game",
    year=2022,
    when="Gradients conflict or differ in size; all tasks should gain.",
)
class NashMTL(Bargaining):
    """Nash-MTL: the tasks bargain for the direction of the update.

    The weights α > 0 solve G α = 1 / α, with G the Gramian of the gradients:
    the Nash bargaining solution, at which the product of the tasks'
    improvements is largest. The direction does not change when a loss is
    multiplied by a constant. The direction is then clipped to norm `max_norm`.

    Without that, its norm is that of √T gradients of norm 1, however near a
    Pareto-stationary point is, where there is no solution. Where float32 does
    not tell the gradients from Pareto-stationary ones, the direction is zero,
    and close to there all α are scaled down together.

    The official code solves for α with a sequence of convex programs, and stays
    at equal weights where the gradients are small (norms of 1e-3); this one is
    exact at every scale.

    Args:
        max_norm: Largest norm of the direction on the shared variables, or
            `None`. By default 1, with `rescale="sum"` `None`.
        update_every: Number of steps for which α is used.
        weigh_heads: Whether α acts on the tasks' own parameters, too, as in the
            official code.
        **kwargs: See `GradientWeighting` (`gradients`, `shared`).

    Example:

    >>> nash = keras_mtl.weightings.NashMTL()
    >>> nash(np.ones(2), np.array([[1.0, 0.0], [0.0, 4.0]]))
    [1.0, 0.5]

    Reference:
        - [Navon et al., 2022](https://arxiv.org/abs/2202.01017), section 3,
          Claim 3.1 and Algorithm 1.
    """

    def __init__(
        self,
        max_norm: float | str | None = "auto",
        update_every: int = 1,
        weigh_heads: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            max_norm=default_max_norm(max_norm, kwargs.get("rescale")),
            update_every=update_every,
            weigh_heads=weigh_heads,
            **kwargs,
        )

    def compute_weights(self, losses: Tensor, gramian: Tensor) -> Tensor:
        return self._bounded(gramian, nash_bargaining(gramian), 1.0)
