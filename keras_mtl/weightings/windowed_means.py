"""The base class of the methods that compare mean losses of two windows."""

from typing import Any

from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import Tensor
from keras_mtl.weightings.outliers import within_reach
from keras_mtl.weightings.weighting import Weighting


class WindowedMeans(Weighting):
    """Base class of the methods that compare mean losses of two windows.

    The variables `before_last` and `last` are the mean losses of the last two
    windows in which the task has labels, 0 until known.

    Args:
        window: `"epoch"`, or the number of steps over which losses are
            averaged.
        **kwargs: See `Weighting`.
    """

    needs_epochs = True

    def __init__(self, window: str | int = "epoch", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(window, str) or window != "epoch":
            window = checks.positive_integer("window", window)
        self.window = window
        self.needs_epochs = window == "epoch"

    def build_state(self, num_tasks: int) -> None:
        # `mean` and `count` are those of the present window.
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

    def count_losses(self, losses: Tensor) -> None:
        """Adds losses, shape `(T,)`, to the means of the present window."""
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
