from typing import Any

from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import TINY
from keras_mtl.backend.numerics import Tensor
from keras_mtl.weightings.outliers import within_reach
from keras_mtl.weightings.registry import register
from keras_mtl.weightings.weighting import Weighting

# A larger ratio of mean losses would leave the range of float32.
MAX_RATIO = 1e30


@register(
    "dwa",
    package="keras_mtl",
    paper="Liu et al., End-to-End Multi-Task Learning with Attention",
    year=2019,
    when="Some losses fall slowly and should get more weight.",
)
class DWA(Weighting):
    """Dynamic weight average: the slower a loss falls, the larger its weight.

    The weights are T softmax(r / τ), with r the mean loss of the last epoch
    over that of the epoch before, and τ the temperature. In the first two
    epochs they are 1. Batches without a label do not count, nor do epochs with
    none: the means are then those of the last two epochs that have labels. A
    task of which one of the two means is not known, or not positive, counts as
    neither rising nor falling: r = 1.

    Args:
        temperature: τ; a large one gives equal weights.
        window: `"epoch"`, or the number of steps over which losses are
            averaged in place of an epoch, for epochs that are few or long.

    Example:

    >>> dwa = keras_mtl.weightings.DWA(window=1)
    >>> for losses in ([2.0, 2.0], [2.0, 1.0]):
    ...     weights = dwa(np.array(losses))
    >>> weights
    [1.0, 1.0]
    >>> dwa(np.array([2.0, 1.0]))  # The ratios are 1 and 0.5.
    [1.1243530, 0.8756470]

    Reference:
        - [Liu et al., 2019](https://arxiv.org/abs/1803.10704), equation 7.
    """

    needs_epochs = True

    def __init__(
        self,
        temperature: float = 2.0,
        window: str | int = "epoch",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.temperature = checks.positive("temperature", temperature)
        if not isinstance(window, str) or window != "epoch":
            window = checks.positive_integer("window", window)
        self.window = window
        self.needs_epochs = window == "epoch"

    def build_state(self, num_tasks: int) -> None:
        # The means of the last two complete windows are 0 until known. `mean`
        # and `count` are those of the present window.
        self.before_last = self.add_state((num_tasks,), name="before_last")
        self.last = self.add_state((num_tasks,), name="last")
        self.mean = self.add_state((num_tasks,), name="mean")
        self.count = self.add_state((num_tasks,), name="count")
        self.steps = self.add_state(dtype="int32", name="steps")

    def on_epoch_begin(self) -> None:
        # An interrupted epoch is run again from its beginning.
        if self.built and self.window == "epoch":
            self.mean.assign(ops.zeros((self.num_tasks,)))
            self.count.assign(ops.zeros((self.num_tasks,)))

    def on_epoch_end(self) -> None:
        if self.window == "epoch":
            self._end_window(True)

    def compute_weights(self, losses: Tensor) -> Tensor:
        before_last = ops.convert_to_tensor(self.before_last)
        last = ops.convert_to_tensor(self.last)
        known = ops.minimum(before_last, last) > TINY
        ratio = last / ops.maximum(before_last, TINY)
        ratio = ops.where(known, ops.minimum(ratio, MAX_RATIO), 1.0)
        self._count(losses)
        return self.num_tasks * ops.softmax(ratio / self.temperature)

    def _count(self, losses):
        labelled = ops.cast(ops.not_equal(losses, 0.0), "float32")
        self.count.assign(self.count + labelled)
        # The mean is a running one: a sum of large losses would overflow.
        mean = ops.convert_to_tensor(self.mean)
        losses = within_reach(losses, mean)
        change = labelled * (losses - mean) / ops.maximum(self.count, 1.0)
        self.mean.assign(mean + change)
        if self.window != "epoch":
            steps = self.steps + 1
            self._end_window(ops.equal(steps, self.window))
            self.steps.assign(steps % self.window)

    def _end_window(self, ended):
        """Moves the means on by one window, if it has ended."""
        variables = (self.before_last, self.last, self.mean, self.count)
        before_last, last, mean, count = (ops.copy(v) for v in variables)
        counted = ops.logical_and(ended, count > 0.0)
        self.before_last.assign(ops.where(counted, last, before_last))
        self.last.assign(ops.where(counted, mean, last))
        self.mean.assign(ops.where(ended, ops.zeros_like(mean), mean))
        self.count.assign(ops.where(ended, ops.zeros_like(count), count))
