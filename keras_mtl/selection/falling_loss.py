import math

import numpy as np

from keras_mtl.selection.registry import register
from keras_mtl.selection.reward import Reward
from keras_mtl.selection.state import check_state


@register("falling_loss", package="keras_mtl")
class FallingLoss(Reward):
    """Reward for tasks that still have a high loss, while it falls.

    It is `1 - exp(-loss)` if the loss is lower than that of the last batch of
    the same task, else 0. With a loss that is a negative log likelihood, this
    is the probability of an error. The reward of a task's first batch, and of
    losses that are NaN or negative, is 0.

    Example:

    >>> reward = keras_mtl.selection.FallingLoss()
    >>> reward.build(num_tasks=2)
    >>> reward(task=0, loss=1.5)
    0.0
    >>> reward(task=0, loss=1.0)
    0.6321205588285577
    >>> reward(task=0, loss=1.2)
    0.0

    Reference:
        [Glover and Hokamp, 2019](https://arxiv.org/abs/1907.06214), equation
        16, where this reward has no name.
    """

    def __init__(self) -> None:
        self._last: np.ndarray | None = None

    def build(self, num_tasks: int) -> None:
        if self._last is None:
            self._last = np.full(num_tasks, np.nan)
        if len(self._last) != num_tasks:
            raise ValueError(
                f"Expected {len(self._last)} tasks, as when it was built. "
                f"Received: num_tasks={num_tasks}"
            )

    def __call__(
        self, task: int, loss: float, loss_after: float | None = None
    ) -> float:
        if self._last is None:
            raise ValueError("Expected `build(num_tasks)` to be called first.")
        loss = float(loss)
        if math.isnan(loss):
            return 0.0
        last, self._last[task] = self._last[task], loss
        return -math.expm1(-loss) if 0 <= loss < last else 0.0

    def get_state(self) -> dict[str, np.ndarray]:
        return {"last": self._last.copy()}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        check_state(self, state)
        self._last = np.array(state["last"], "float64")
