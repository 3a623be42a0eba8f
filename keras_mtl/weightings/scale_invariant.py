from keras_mtl.backend.numerics import Tensor
from keras_mtl.backend.numerics import inverse
from keras_mtl.weightings.registry import register
from keras_mtl.weightings.weighting import Weighting


@register(
    "scale_invariant",
    package="keras_mtl",
    paper="Navon et al., Multi-Task Learning as a Bargaining Game",
    year=2022,
    when="The losses differ in unit or scale: the simplest remedy.",
    abbreviation="SI",
)
class ScaleInvariant(Weighting):
    """Minimises the sum of the logarithms of the losses: w = 1 / L.

    Multiplying a loss by a constant changes nothing. Losses must be positive: a
    task whose loss is not gets no weight in that step.

    Args:
        **kwargs: See `Weighting` (`floor`).

    Example:

    >>> keras_mtl.weightings.ScaleInvariant()(np.array([0.5, 2.0]))
    [2.0, 0.5]

    Reference:
        - [Navon et al., 2022](https://arxiv.org/abs/2202.01017), section 5,
          "SI"; the paradigm of [Dai et al., 2023](
          https://arxiv.org/abs/2307.15429), equation 2 with all weights 1.
    """

    needs_positive_losses = True
    balances_logarithms = True

    def compute_weights(self, losses: Tensor) -> Tensor:
        return inverse(losses)
