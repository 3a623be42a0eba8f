"""The base class of all rewards."""

import numpy as np

from keras_mtl.backend.registry import Configurable


class Reward(Configurable):
    """Base class of the rewards, which say how useful a step has been.

    A reward of one's own overrides `__call__`.

    Example:

    >>> class Relative(keras_mtl.selection.Reward):
    ...     needs_loss_after = True
    ...     def __call__(self, task, loss, loss_after=None):
    ...         return 1 - loss_after / loss
    >>> Relative()(task=0, loss=2.0, loss_after=1.5)
    0.25
    """

    # Whether the reward needs the loss on the same batch after the step, which
    # costs another forward pass.
    needs_loss_after = False

    def build(self, num_tasks: int) -> None:
        """Makes the state for that many tasks. Later calls keep it."""

    def __call__(
        self, task: int, loss: float, loss_after: float | None = None
    ) -> float:
        """Computes the reward of a step.

        Args:
            task: Index of the task that was trained.
            loss: Its loss on the batch, before the step.
            loss_after: Its loss on the same batch after the step, if
                `needs_loss_after`.

        Returns:
            Float.
        """
        raise NotImplementedError

    def get_state(self) -> dict[str, np.ndarray]:
        """Returns what is remembered, a dict of name to array."""
        return {}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Restores what `get_state` returned, in a reward that is built."""
