from typing import Any

from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import TINY
from keras_mtl.backend.numerics import Tensor
from keras_mtl.weightings.present_tasks import shared_by
from keras_mtl.weightings.registry import register
from keras_mtl.weightings.windowed_means import WindowedMeans

VARIANTS = ("original", "normalized", "loss_weighted")


@register(
    "softadapt",
    package="keras_mtl",
    paper="Heydari et al., SoftAdapt",
    year=2019,
    when="Terms of one equation: those that rise get more weight.",
)
class SoftAdapt(WindowedMeans):
    """SoftAdapt: the faster a loss rises, the larger its weight.

    With s the change of the loss since the last window, the weights are
    softmax(β s), which sum to 1. Before there are two windows, s is 0, and so
    is that of a task without a label in one of them. A task without a label in
    the batch has weight 0.

    Args:
        beta: β. Where it is negative, losses that fall get more weight.
        variant: `"original"`; `"normalized"`, which divides s by Σ |s|, so that
            the unit of the losses does not matter; or `"loss_weighted"`, which
            multiplies the exponentials by the losses.
        window: Number of steps over which a loss is averaged, or `"epoch"`. The
            change is that between the means of the last two windows; with 1 it
            is that since the step before, as in the paper, for losses of all
            data. Losses of batches want a longer one.
        **kwargs: See `Weighting`.

    Example:

    >>> softadapt = keras_mtl.weightings.SoftAdapt(beta=1.0)
    >>> softadapt(np.array([2.0, 2.0]))
    [0.5, 0.5]
    >>> softadapt(np.array([2.0, 1.0]))  # The changes are 0 and -1.
    [0.7310586, 0.2689414]

    Reference:
        - [Heydari et al., 2019](https://arxiv.org/abs/1912.12355), Algorithm 1
          and its variants.
    """

    def __init__(
        self,
        beta: float = 0.1,
        variant: str = "original",
        window: str | int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(window, **kwargs)
        self.beta = checks.finite("beta", beta)
        self.variant = checks.one_of("variant", variant, VARIANTS)

    def compute_weights(self, losses: Tensor) -> Tensor:
        # The batch counts already: the change is one up to this step.
        self.count_losses(losses)
        before_last = ops.convert_to_tensor(self.before_last)
        last = ops.convert_to_tensor(self.last)
        labelled = ops.not_equal(losses, 0.0)
        known = ops.logical_and(before_last != 0.0, last != 0.0)
        changes = ops.where(known, last - before_last, 0.0)
        if self.variant == "normalized":
            total = ops.sum(ops.abs(changes))
            changes = changes / ops.maximum(total, TINY)
        shares = shared_by(self.beta * changes, labelled)
        if self.variant == "loss_weighted":
            # In units of the largest loss, the sum is in float32's range.
            largest = ops.maximum(ops.max(ops.abs(losses)), TINY)
            shares = shares * (ops.abs(losses) / largest)
        return shares / ops.maximum(ops.sum(shares), TINY)
