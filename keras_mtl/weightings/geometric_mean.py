from keras import ops

from keras_mtl.backend.numerics import TINY
from keras_mtl.backend.numerics import Tensor
from keras_mtl.weightings.registry import register
from keras_mtl.weightings.weighting import Weighting


@register(
    "geometric_mean",
    package="keras_mtl",
    paper="Chennupati et al., MultiNet++",
    year=2019,
    when="As scale_invariant; the steps shorten as the losses fall.",
    abbreviation="GLS",
)
class GeometricMean(Weighting):
    """Geometric loss strategy (GLS): minimises the geometric mean M of losses.

    The weights are the derivatives of M, w = M / (n L), with n the number of
    tasks that have a label in the batch, which are those whose losses M is
    the mean of. The direction is thus that of `ScaleInvariant`, and its length
    falls with M. The weights are not normalised: of n equal losses they are
    1 / n each. Losses must be positive: a task whose loss is not gets no
    weight in that step, and is not in M.

    The paper's variant that focuses on some of the tasks, with a second mean
    over these as a factor, is not offered.

    Args:
        **kwargs: See `Weighting` (`floor`).

    Example:

    >>> keras_mtl.weightings.GeometricMean()(np.array([0.5, 2.0]))
    [1.0, 0.25]

    Reference:
        - [Chennupati et al., 2019](https://arxiv.org/abs/1904.08492), the
          geometric loss strategy.
    """

    needs_positive_losses = True
    balances_logarithms = True

    def compute_weights(self, losses: Tensor) -> Tensor:
        positive = losses > TINY
        count = ops.maximum(ops.sum(ops.cast(positive, "float32")), 1.0)
        # The product of losses leaves the range of float32, its log does not.
        logs = ops.log(ops.where(positive, losses, 1.0))
        return ops.exp(ops.sum(logs) / count - logs) / count
