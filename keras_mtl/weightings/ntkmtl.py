from typing import Any

from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import Tensor
from keras_mtl.weightings.gradient_weighting import GradientWeighting
from keras_mtl.weightings.measurement import default_max_norm
from keras_mtl.weightings.registry import register

# Larger ratios of squared norms would leave the range of float32.
MAX_RATIO = 1e30


@register(
    "ntkmtl",
    package="keras_mtl",
    paper="Qin et al., NTKMTL: Mitigating Task Imbalance",
    year=2025,
    when="Tasks learn at different speeds; small gradients count more.",
)
class NTKMTL(GradientWeighting):
    """NTKMTL: tasks whose neural tangent kernel is small count more.

    The eigenvalues of a task's tangent kernel are the speeds at which it is
    learned. With one loss for the whole batch the kernel of a task is a number,
    the squared norm of its gradient, and the weights are
    T (Σ_j ‖g_j‖² / ‖g_i‖²)^p. For p = 0.5 all gradients come to one length. The
    direction is then clipped to the norm `max_norm`, which it nearly always
    has, so that the length of a step follows the learning rate alone.

    This is the paper's method with n = 1, that of its comparisons. NTKMTL-SR
    has the kernel of the features for n parts of the batch, and the largest
    eigenvalue of it in the place of the squared norm. An example changes its
    own features alone, so that this is the largest of the squared norms of the
    parts: `NTKMTL(gradients="features", parts=4, weigh_heads=True,
    max_norm=None)` is the official code of NTKMTL-SR, times T. Parts are of
    equal size; what is left for the last one counts less.

    A task whose gradient is zero is left out; `T` is the number of the others.

    Args:
        exponent: p, in [0, 1].
        max_norm: Largest norm of the direction on the shared variables, or
            `None`. By default 1, that of the official code, as is the factor T,
            which is for the sum of the losses; with `rescale="sum"` `None`.
        parts: Number n of the parts of the batch, 1 with
            `gradients="parameters"`.
        **kwargs: See `GradientWeighting`.

    Example:

    >>> ntkmtl = keras_mtl.weightings.NTKMTL(max_norm=None)
    >>> ntkmtl(np.ones(2), np.array([[9.0, 0.0], [0.0, 16.0]]))
    [3.333333, 2.5]

    Reference:
        - [Qin et al., 2025](https://arxiv.org/abs/2510.18258), the weights of
          NTKMTL, and `methods/weight_methods.py` of its official code.
    """

    implied_arguments = {**GradientWeighting.implied_arguments, "parts": 1}

    def __init__(
        self,
        exponent: float = 0.5,
        max_norm: float | str | None = "auto",
        parts: int = 1,
        **kwargs: Any,
    ) -> None:
        bound: Any = default_max_norm(max_norm, kwargs.get("rescale"))
        super().__init__(max_norm=bound, **kwargs)
        self.exponent = checks.fraction("exponent", exponent)
        self.parts = checks.positive_integer("parts", parts)
        if parts > 1 and self.measurement.gradients != "features":
            raise ValueError(
                "Expected `parts` to be 1 for gradients of parameters, which "
                'would be measured for each part; gradients="features" takes '
                f"parts. Received: parts={parts}"
            )

    @property
    def num_parts(self) -> int:
        return self.parts

    def _gramian_shapes(self):
        of_batch = super()._gramian_shapes()
        of_parts = [(self.parts, *shape) for shape in of_batch]
        return of_batch if self.parts == 1 else of_parts + of_batch

    def compute_weights(self, losses: Tensor, gramian: Tensor) -> Tensor:
        squares = ops.diagonal(gramian, axis1=-2, axis2=-1)
        if len(squares.shape) == 2:
            squares = ops.max(squares, axis=0)
        present = squares > 0
        count = ops.sum(ops.cast(present, "float32"))
        # The squares are in units of the largest one: their sum may overflow.
        largest = ops.max(squares)
        shares = squares / ops.where(largest > 0, largest, 1.0)
        ratios = ops.sum(shares) / ops.where(present, shares, 1.0)
        weights = count * ops.minimum(ratios, MAX_RATIO) ** self.exponent
        return ops.where(present, weights, 0.0)
