"""The base class of all policies."""

import math
import numbers
from collections.abc import Sequence

import numpy as np

from keras_mtl.backend.registry import Configurable


class Policy(Configurable):
    """Base class of the policies, which choose the task of the next batch.

    A policy of one's own overrides `probabilities`, and `update` if it learns.
    What it learns it returns from `get_state` as arrays, with which trainings
    are resumed. The choice is made on the host, in float64.

    Example:

    >>> class Newest(keras_mtl.selection.Policy):
    ...     newest = 0
    ...     @property
    ...     def probabilities(self):
    ...         p = np.full(self.num_tasks, 0.5 / self.num_tasks)
    ...         p[self.newest] += 0.5
    ...         return p
    ...     def update(self, task, reward, propensity):
    ...         self.newest = task
    >>> policy = Newest()
    >>> policy.build([100, 900])
    >>> policy.update(1, 0.3, 0.25)
    >>> policy.probabilities
    [0.25, 0.75]
    """

    num_tasks = None

    def build(self, sizes: Sequence[int | None]) -> None:
        """Makes the state for the tasks. Later calls keep what was learned.

        Args:
            sizes: List of `T` numbers of examples, `None` where unknown.

        Raises:
            ValueError: If there is no task, a size is not positive, or the
                policy was made for another number of tasks.
        """
        sizes = list(sizes)
        if not sizes or not all(map(_is_size, sizes)):
            raise ValueError(
                "Expected `sizes` to be one positive number of examples per "
                f"task, or None where it is unknown. Received: sizes={sizes}"
            )
        if self.num_tasks not in (None, len(sizes)):
            raise ValueError(
                f"Expected {self.num_tasks} tasks, as {self!r} has. "
                f"Received: {len(sizes)} tasks"
            )
        self.num_tasks = len(sizes)

    @property
    def probabilities(self) -> np.ndarray:
        """The probability of each task, a float64 array of shape `(T,)`."""
        raise NotImplementedError

    def sample(self, rng: np.random.Generator) -> tuple[int, float]:
        """Chooses a task.

        Args:
            rng: A `np.random.Generator`, which draws one number.

        Returns:
            The index of the task, and the probability with which it was chosen,
            its propensity.

        Raises:
            ValueError: If the probabilities are not probabilities.
        """
        probabilities = self.probabilities
        cumulative = np.cumsum(probabilities)
        total = cumulative[-1]
        if not abs(total - 1) < 1e-6 or min(probabilities) < 0:
            raise ValueError(
                f"Expected the probabilities of {self!r} to be positive and to "
                f"sum to 1. Received: {probabilities}"
            )
        # With the right side, a task of probability 0 is never drawn.
        task = np.searchsorted(cumulative, rng.random() * total, side="right")
        return int(task), float(probabilities[task])

    def update(self, task: int, reward: float, propensity: float) -> None:
        """Learns from a step. Does nothing by default.

        Args:
            task: Index of the task that was trained.
            reward: Float.
            propensity: The probability with which the task was chosen.
        """

    def get_state(self) -> dict[str, np.ndarray]:
        """Returns what was learned, a dict of name to array."""
        return {}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Restores what `get_state` returned, in a policy that is built."""

    def require_built(self) -> None:
        """Raises an error unless the tasks are known."""
        if self.num_tasks is None:
            raise ValueError(
                "Expected the policy to know its tasks: call `build(sizes)` "
                f"first. Received: {self!r}"
            )

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def _is_size(size):
    return size is None or (
        isinstance(size, numbers.Real) and size > 0 and not math.isnan(size)
    )
