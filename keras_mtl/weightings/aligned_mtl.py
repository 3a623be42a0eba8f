from collections.abc import Sequence
from typing import Any

from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import Tensor
from keras_mtl.solvers.pseudo_inverse import nonzero_eigenvalues
from keras_mtl.weightings.preference import PreferenceWeighting
from keras_mtl.weightings.registry import register

SCALES = ("min", "median", "mean")


@register(
    "aligned_mtl",
    package="keras_mtl",
    paper="Senushkin et al., Independent Component Alignment",
    year=2023,
    when="Gradients conflict or one dominates: makes them orthogonal.",
)
class AlignedMTL(PreferenceWeighting):
    """Aligned-MTL: the nearest orthogonal gradients of one length.

    With G = V diag(λ) Vᵀ the Gramian of the gradients, the weights are
    sqrt(s) V diag(1 / sqrt(λ)) Vᵀ p: the sum, with the weights p, of the
    orthogonal gradients of length sqrt(s) that are nearest to the task
    gradients, so that no task dominates and none conflicts. Zero eigenvalues
    are left out.

    Args:
        preference: List of `T` non-negative numbers p, or `None` for 1 each, as
            in the official code.
        scale: What s is of the eigenvalues that are not zero: `"min"` (the
            paper's choice), `"median"` (the lower one of two) or `"mean"`
            (`"rmse"` in the official code).
        **kwargs: See `GradientWeighting` (`gradients`, `shared`,
            `update_every`, `max_norm`, `weigh_heads`).

    Example:

    >>> aligned_mtl = keras_mtl.weightings.AlignedMTL()
    >>> aligned_mtl(np.ones(2), np.array([[1.0, 0.0], [0.0, 4.0]]))
    [1.0, 0.5]

    Reference:
        - [Senushkin et al., 2023](https://arxiv.org/abs/2305.19000),
          Algorithm 1.
    """

    def __init__(
        self,
        preference: Sequence[float] | None = None,
        scale: str = "min",
        **kwargs: Any,
    ) -> None:
        super().__init__(preference, **kwargs)
        self.scale = checks.one_of("scale", scale, SCALES)

    def compute_weights(self, losses: Tensor, gramian: Tensor) -> Tensor:
        preference = self.preferred()
        eigenvalues, nonzero, vectors = nonzero_eigenvalues(gramian)
        length = self._length(eigenvalues, nonzero)
        roots = ops.sqrt(ops.where(nonzero, eigenvalues, 1.0))
        factors = ops.where(nonzero, length / roots, 0.0)
        coordinates = ops.sum(vectors * preference[:, None], axis=0)
        weights = ops.sum(vectors * (factors * coordinates), axis=1)
        return ops.where(ops.any(nonzero), weights, preference)

    def _length(self, eigenvalues, nonzero):
        """The length of the orthogonal gradients."""
        rank = ops.sum(ops.cast(nonzero, "int32"))
        # The eigenvalues ascend: those that are zero come first.
        zeros = self.num_tasks - rank
        largest = self.num_tasks - 1
        if self.scale == "min":
            return ops.sqrt(eigenvalues[ops.minimum(zeros, largest)])
        if self.scale == "median":
            middle = zeros + (rank - 1) // 2
            return ops.sqrt(eigenvalues[ops.minimum(middle, largest)])
        total = ops.sum(ops.where(nonzero, eigenvalues, 0.0))
        return ops.sqrt(total / ops.cast(ops.maximum(rank, 1), "float32"))
