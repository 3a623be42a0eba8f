from keras import ops

from keras_mtl.backend.numerics import Tensor
from keras_mtl.solvers.nonnegative import unit_gramian
from keras_mtl.solvers.pseudo_inverse import pseudo_solve
from keras_mtl.weightings.gradient_weighting import GradientWeighting
from keras_mtl.weightings.registry import register

# The sum of weights that cancel to less than this is rounding.
MIN_CANCELLATION = 1e-6


@register(
    "imtl_g",
    package="keras_mtl",
    paper="Liu et al., Towards Impartial Multi-task Learning",
    year=2021,
    when="Gradients should count alike, large or small; or try config.",
)
class IMTLG(GradientWeighting):
    """IMTL-G: the direction has the same projection onto all gradients.

    With u_i = g_i / ‖g_i‖, the weights α with Σ α_i = 1 make u_i · d the same
    for all tasks: α_i is proportional to (C⁺ 1)_i / ‖g_i‖, with C the matrix of
    the cosines. They may be negative. The paper's form, an inverse of
    (T - 1, T - 1), gives the same where it exists; dependent gradients are
    covered by the pseudo-inverse.

    Where the weights sum to a negative number before they are divided by it,
    the constraint Σ α_i = 1 turns the direction round, against all tasks.
    `ConFIG` has this direction without the constraint.

    A task whose gradient is zero is left out.

    Args:
        **kwargs: See `GradientWeighting` (`gradients`, `shared`,
            `update_every`, `max_norm`).

    Example:

    >>> imtl_g = keras_mtl.weightings.IMTLG()
    >>> imtl_g(np.ones(2), np.array([[1.0, 0.0], [0.0, 9.0]]))
    [0.75, 0.25]

    Reference:
        - [Liu et al., 2021](https://openreview.net/forum?id=IMPnRXEWpvr),
          the closed form of IMTL-G.
    """

    def compute_weights(self, losses: Tensor, gramian: Tensor) -> Tensor:
        cosines, norms, inverse_norms = unit_gramian(gramian)
        equal = pseudo_solve(cosines, ops.cast(norms > 0, "float32"))
        # Norms are in units of the least one, so that the weights are about 1.
        largest = ops.max(inverse_norms)
        weights = equal * inverse_norms / ops.where(largest > 0, largest, 1.0)
        total = ops.sum(weights)
        least = MIN_CANCELLATION * ops.sum(ops.abs(weights))
        total = ops.where(
            total < 0,
            ops.minimum(total, -least),
            ops.maximum(total, least),
        )
        return weights / ops.where(total == 0, 1.0, total)
