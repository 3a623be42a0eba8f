from keras import ops

from keras_mtl.backend.numerics import Tensor
from keras_mtl.solvers.nonnegative import product
from keras_mtl.solvers.nonnegative import unit_gramian
from keras_mtl.solvers.pseudo_inverse import pseudo_solve
from keras_mtl.weightings.preference import PreferenceWeighting
from keras_mtl.weightings.registry import register


@register(
    "config",
    package="keras_mtl",
    paper="Liu et al., ConFIG: Towards Conflict-free Training of PINNs",
    year=2024,
    when="Very different losses (PINNs): one angle to all gradients.",
)
class ConFIG(PreferenceWeighting):
    """ConFIG: the conflict-free direction of equal cosines to all gradients.

    With U the matrix of the unit gradients, the direction is that of U⁺ p: its
    cosines to the gradients are proportional to p. Its length is the sum of the
    gradients' projections onto it. By way of the Gramian, U⁺ p = Uᵀ (U Uᵀ)⁺ p.

    Where the unit gradients are linearly dependent, the cosines are the nearest
    to p. A task whose gradient is zero is left out.

    Args:
        preference: List of `T` non-negative numbers p, to which the cosines are
            proportional, or `None` for equal ones.
        **kwargs: See `GradientWeighting` (`gradients`, `shared`,
            `update_every`, `max_norm`, `weigh_heads`).

    Example:

    >>> config = keras_mtl.weightings.ConFIG()
    >>> config.aggregate(np.array([[3.0, 0.0], [0.0, 1.0]]))
    [2.0, 2.0]

    Reference:
        - [Liu et al., 2024](https://arxiv.org/abs/2408.11104), equation 2.
    """

    def compute_weights(self, losses: Tensor, gramian: Tensor) -> Tensor:
        preference = self.preferred()
        cosines, norms, inverse_norms = unit_gramian(gramian)
        wanted = ops.where(norms > 0, preference, 0.0)
        weights = pseudo_solve(cosines, wanted)
        projections = product(weights[None], cosines)[0]
        squared = ops.sum(weights * projections)
        squared = ops.where(squared > 0, squared, 1.0)
        length = ops.sum(norms * projections) / squared
        return length * weights * inverse_norms
