from collections.abc import Sequence
from typing import Any

from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import TINY
from keras_mtl.backend.numerics import Tensor
from keras_mtl.backend.numerics import inverse
from keras_mtl.weightings.outliers import within_reach
from keras_mtl.weightings.registry import register
from keras_mtl.weightings.tchebycheff import Tchebycheff

# This is far below all distances, but finite: a softmax of infinities is NaN.
LOWEST = -3e38


@register(
    "smooth_tchebycheff",
    package="keras_mtl",
    paper="Lin et al., Smooth Tchebycheff Scalarization",
    year=2024,
    when="The worst tasks should count most. Losses of one scale.",
)
class SmoothTchebycheff(Tchebycheff):
    """Smooth Tchebycheff scalarization (STCH): trains the worst tasks most.

    The loss is μ log Σ exp(λ (L − z) / μ), with λ the preference and z the
    ideal point: a smooth maximum of λ (L − z), which is that of `Tchebycheff`
    for μ → 0. The weights are its gradient, λ softmax(λ (L − z) / μ). A task
    without a label in the batch takes no part, and has weight 0.

    With `warmup_epoch`, the logarithm of a loss over its mean in that epoch
    takes the place of L, so that the scale of a loss does not matter. Until
    that mean is known, the logarithm counts as 0; for n labelled tasks and
    z = 0 the weights are then λ / (n L). So does the official code of the
    multi-task experiments, where λ is 1, the loss T times as large, and the
    epoch the fifth. In this form losses must be positive: a task whose loss is
    not gets no weight in that step.

    Without a preference the weights are 1 / T times a softmax, 1 / T² for equal
    losses: the gradient is that much shorter than the one of the sum of the
    losses (0.0006 of it for 40 tasks), which matters to SGD. With a
    `preference` of T for each task it has the same length; μ must then be T
    times as large for the same smoothing.

    Args:
        mu: The smoothing μ, in the units of λ (L − z). The paper tries 0.01 to
            1.
        preference: List of `T` positive floats λ, or `None`: uniform, 1 / T
            each. It is used as it is given; the paper's sums to 1.
        ideal: The ideal point z, a float or list of `T` floats, in the units
            of the losses (of the logarithms, with `warmup_epoch`). `None`: 0.
        warmup_epoch: The epoch, from 1, over whose mean losses the losses are
            taken, or `None`.

    Example:

    >>> stch = keras_mtl.weightings.SmoothTchebycheff()
    >>> stch(np.array([0.5, 2.0]))
    [0.1604107, 0.3395893]

    Reference:
        - [Lin et al., 2024](https://arxiv.org/abs/2402.19078), "smooth
          Tchebycheff scalarization".
    """

    def __init__(
        self,
        mu: float = 1.0,
        preference: Sequence[float] | None = None,
        ideal: float | Sequence[float] | None = None,
        warmup_epoch: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(preference, ideal, **kwargs)
        self.mu = checks.positive("mu", mu)
        self.warmup_epoch = checks.positive_integer(
            "warmup_epoch", warmup_epoch, optional=True
        )
        if self.warmup_epoch is not None:
            self.needs_epochs = True
            self.needs_positive_losses = True
            self.balances_logarithms = True

    def build_state(self, num_tasks: int) -> None:
        super().build_state(num_tasks)
        if self.warmup_epoch is not None:
            self.epochs = self.add_state(dtype="int32", name="epochs")
            self.base = self.add_state((num_tasks,), name="base")
            self.count = self.add_state((num_tasks,), name="count")

    def on_epoch_begin(self) -> None:
        if not self.built or self.warmup_epoch is None:
            return
        # The mean begins anew also where an interrupted epoch is run again.
        # `+ 0`, because under `tf.distribute` the variable has no value.
        if int(self.epochs + 0) == self.warmup_epoch - 1:
            self.base.assign(ops.zeros((self.num_tasks,)))
            self.count.assign(ops.zeros((self.num_tasks,)))

    def on_epoch_end(self) -> None:
        if self.warmup_epoch is not None:
            self.epochs.assign(self.epochs + 1)

    def compute_weights(self, losses: Tensor) -> Tensor:
        if self.warmup_epoch is None:
            return super().compute_weights(losses)
        positive = losses > TINY
        epochs = ops.convert_to_tensor(self.epochs)
        in_warmup_epoch = ops.equal(epochs, self.warmup_epoch - 1)
        self._average(losses, ops.logical_and(positive, in_warmup_epoch))
        base = ops.convert_to_tensor(self.base)
        known = ops.logical_and(epochs >= self.warmup_epoch, base > TINY)
        known = ops.logical_and(known, positive)
        logs = ops.log(ops.where(known, losses, 1.0))
        logs = logs - ops.log(ops.where(known, base, 1.0))
        shares = self.shares(self.distances(logs), positive)
        return self.preferences() * shares * inverse(losses)

    def _average(self, losses, counted):
        counted = ops.cast(counted, "float32")
        self.count.assign(self.count + counted)
        # The mean is a running one: a sum of large losses would overflow.
        losses = within_reach(losses, ops.convert_to_tensor(self.base))
        change = counted * (losses - self.base) / ops.maximum(self.count, 1.0)
        self.base.assign(self.base + change)

    def shares(self, distances: Tensor, labelled: Tensor) -> Tensor:
        """Returns the gradient of the smooth maximum, shape `(T,)`."""
        distances = ops.where(labelled, distances, LOWEST)
        # The difference comes first: a large distance over a small μ overflows.
        logits = (distances - ops.max(distances)) / self.mu
        return ops.where(labelled, ops.softmax(logits), 0.0)
