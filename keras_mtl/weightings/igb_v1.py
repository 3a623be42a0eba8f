from typing import Any

from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import TINY
from keras_mtl.backend.numerics import Tensor
from keras_mtl.backend.numerics import inverse
from keras_mtl.weightings.outliers import within_reach
from keras_mtl.weightings.present_tasks import shared_by
from keras_mtl.weightings.registry import register
from keras_mtl.weightings.weighting import Weighting


@register(
    "igb_v1",
    package="keras_mtl",
    paper="Dai et al., Improvable Gap Balancing for Multi-Task Learning",
    year=2023,
    when="Losses differ in scale; what improves least comes first.",
)
class IGBv1(Weighting):
    """Improvable gap balancing by a heuristic.

    The gap that a task can still improve is taken to be its loss over `base`,
    its mean loss in the second epoch. In the first two epochs all logarithms of
    losses count the same; then λ = T softmax(L / base), and the weights are
    λ / L (the gradient of Σ λ log L). Losses must be positive: a task whose
    loss is not gets no weight in that step, and the softmax is over the others.

    Args:
        base_epoch: The epoch, from 1, whose mean losses are `base`.
        **kwargs: See `Weighting` (`floor`).

    Reference:
        - [Dai et al., 2023](https://arxiv.org/abs/2307.15429), Algorithm 1,
          equations 2 and 3.
    """

    needs_positive_losses = True
    balances_logarithms = True
    needs_epochs = True

    def __init__(self, base_epoch: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.base_epoch = checks.positive_integer("base_epoch", base_epoch)

    def build_state(self, num_tasks: int) -> None:
        self.epochs = self.add_state(dtype="int32", name="epochs")
        self.loss_sum = self.add_state((num_tasks,), name="loss_sum")
        self.loss_count = self.add_state((num_tasks,), name="loss_count")

    def on_epoch_begin(self) -> None:
        # The sums begin anew also where an interrupted epoch is run again.
        # `+ 0`, because under `tf.distribute` the variable has no value.
        if self.built and int(self.epochs + 0) == self.base_epoch - 1:
            self.loss_sum.assign(ops.zeros((self.num_tasks,)))
            self.loss_count.assign(ops.zeros((self.num_tasks,)))

    def on_epoch_end(self) -> None:
        self.epochs.assign(self.epochs + 1)

    def compute_weights(self, losses: Tensor) -> Tensor:
        labelled = ops.cast(losses > TINY, "float32")
        epochs = ops.convert_to_tensor(self.epochs)
        in_base_epoch = ops.equal(epochs, self.base_epoch - 1)
        counted = ops.cast(in_base_epoch, "float32") * labelled
        self.count_losses(losses, counted)
        base = self.base()
        # A task without a label in the base epoch counts as at its base.
        gap = ops.where(base > TINY, losses / ops.maximum(base, TINY), 1.0)
        balanced = shared_by(gap, losses > TINY)
        past_base = epochs >= self.base_epoch
        gap_weights = ops.where(past_base, balanced, ops.ones_like(balanced))
        return gap_weights * inverse(losses)

    def base(self) -> Tensor:
        """Returns the mean losses, 0 where there is none, shape `(T,)`."""
        return self.loss_sum / ops.maximum(self.loss_count, 1.0)

    def count_losses(self, losses: Tensor, counted: Tensor) -> None:
        """Adds losses to `base`.

        Args:
            losses: Float tensor of shape `(T,)`.
            counted: Float tensor of that shape, 1 for those that count, else 0.
        """
        # The base is for all of the training: one batch must not decide it.
        losses = within_reach(losses, self.base())
        self.loss_sum.assign(self.loss_sum + counted * losses)
        self.loss_count.assign(self.loss_count + counted)
