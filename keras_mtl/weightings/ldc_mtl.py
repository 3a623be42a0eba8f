from typing import Any

from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import TINY
from keras_mtl.backend.numerics import Tensor
from keras_mtl.backend.numerics import inverse
from keras_mtl.weightings.registry import register
from keras_mtl.weightings.trained_scales import TrainedScales

NORMALIZATIONS = ("none", "first", "log")

# Terms that are closer, in parts of their size, are alike, as they are in the
# first step if losses count in units of their first ones.
ROUNDING = 1e-6

# The largest gradient of ω, in units of what is usual; it has the unit of the
# losses.
MAX_GROWTH = 30.0


@register(
    "ldc_mtl",
    package="keras_mtl",
    paper="Xiao et al., LDC-MTL: Scalable Loss Discrepancy Control",
    year=2025,
    when="Weighted losses should become alike, in one backward pass.",
)
class LDCMTL(TrainedScales):
    """LDC-MTL: learns weights that make the weighted losses alike.

    With σ = sigmoid(ω) and u = σ L̃, the objective in the network's parameters
    and in ω is Σ u / Σ σ + λ Σ |u_i − u_{i+1}|, the second sum over neighbours
    in the order of the tasks. Its gradient for ω is known in closed form, so
    that the weighting takes Adam's step itself. ω starts at 1.

    The weight of a task may be negative, where it is above both neighbours or,
    with many tasks and a large λ, below: the objective lets a loss rise to
    meet another one. A task without a label takes no part, and its neighbours
    are then not compared with it.

    Args:
        control: λ, what the differences count; the paper's are 0.01 to 0.1.
        normalization: What L̃ is: `"none"`, the losses; `"first"`, in units of a
            task's first loss, L(t) min(L(0)) / L(0); or `"log"`,
            log(L(t) / L(0)), for positive losses.
        detach_sum: Whether Σ σ counts as a constant in the gradient for ω, as
            in the official code for CelebA and QM9. In the paper's objective
            it does not.
        learning_rate: Learning rate of ω, or `None` for the model's, as in the
            official code.
        **kwargs: See `Weighting` (`floor` with `"log"`).

    Example:

    >>> ldc_mtl = keras_mtl.weightings.LDCMTL(control=0.1)
    >>> ldc_mtl(np.array([1.0, 3.0]))  # Both σ are 0.731.
    [0.4268941, 0.5731059]

    Reference:
        - [Xiao et al., 2025](https://arxiv.org/abs/2502.08585), the
          single-level problem and Algorithm 1.
    """

    def __init__(
        self,
        control: float = 0.1,
        normalization: str = "none",
        detach_sum: bool = False,
        learning_rate: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, **kwargs)
        self.control = checks.non_negative("control", control)
        self.normalization = checks.one_of(
            "normalization", normalization, NORMALIZATIONS
        )
        self.detach_sum = checks.boolean("detach_sum", detach_sum)
        if self.normalization != "none":
            self.needs_positive_losses = True
        self.balances_logarithms = normalization == "log"

    def build_state(self, num_tasks: int) -> None:
        self.logits = self.add_state((num_tasks,), "ones", name="logits")
        self.first = self.add_state((num_tasks,), name="first_losses")
        self.make_optimizer(self.logits, MAX_GROWTH)

    def compute_weights(self, losses: Tensor) -> Tensor:
        labelled = ops.not_equal(losses, 0.0)
        if self.normalization != "none":
            labelled = losses > TINY
        values, slopes = self._normalize(losses, labelled)
        shares = ops.where(labelled, ops.sigmoid(self.logits), 0.0)
        terms = shares * values
        total = ops.sum(shares)
        total = ops.where(total > 0, total, 1.0)
        # The derivative of the objective for a term.
        slope = 1.0 / total + self.control * self._signs(terms, labelled)
        gradient = slope * values
        if not self.detach_sum:
            mean = ops.sum(terms) / ops.square(total)
            sizes = ops.abs(gradient) + ops.abs(mean)
            gradient = gradient - mean
            # Rounding must not count as a gradient that is usual.
            off = ops.abs(gradient) > ROUNDING * sizes
            gradient = ops.where(off, gradient, 0.0)
        gradient = shares * (1.0 - shares) * gradient
        self.descend_where(labelled, gradient)
        return ops.where(labelled, slope * shares * slopes, 0.0)

    def _normalize(self, losses, labelled):
        """Returns L̃ and its derivative for L, both of shape `(T,)`."""
        if self.normalization == "none":
            return losses, ops.ones_like(losses)
        first = ops.convert_to_tensor(self.first)
        is_first = ops.logical_and(labelled, first <= TINY)
        first = ops.where(is_first, losses, first)
        self.first.assign(first)
        if self.normalization == "log":
            now, then = (
                ops.log(ops.where(labelled, x, 1.0)) for x in (losses, first)
            )
            return now - then, inverse(losses)
        known = first > TINY
        smallest = ops.min(ops.where(known, first, ops.max(first)))
        factor = smallest * inverse(first)
        return losses * factor, factor

    def _signs(self, terms, labelled):
        """Returns the derivatives of Σ |u_i − u_{i+1}|, shape `(T,)`."""
        both = ops.logical_and(labelled[1:], labelled[:-1])
        difference = terms[:-1] - terms[1:]
        size = ops.maximum(ops.abs(terms[:-1]), ops.abs(terms[1:]))
        both = ops.logical_and(both, ops.abs(difference) > ROUNDING * size)
        signs = ops.where(both, ops.sign(difference), 0.0)
        zero = ops.zeros((1,))
        return ops.concatenate([signs, zero]) - ops.concatenate([zero, signs])
