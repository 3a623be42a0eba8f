"""The losses of a batch near the parameters."""

import abc


class Surroundings(abc.ABC):
    """The losses of a batch near the parameters.

    Their passes have the statistics and the random numbers with which the step
    began, and leave those that it left.
    """

    @abc.abstractmethod
    def losses(self, variables, changes, training=True):
        """Returns the list of the task losses at other parameters.

        Args:
            variables: List of the variables that are changed.
            changes: List of what is added to them, `None` for nothing.
            training: Whether it is a pass of training, or of inference.
        """

    @abc.abstractmethod
    def gradients(self, weights, variables, changes):
        """Returns the gradients of a weighted sum of the losses there.

        They are those of a pass of training.

        Args:
            weights: List of a scalar for each task, `None` to leave it out.
            variables: As of `losses`.
            changes: As of `losses`.

        Returns:
            List of the gradients for the variables, times the loss scale;
            `None` for zeros.
        """


def weighted_sum(losses, weights):
    """Returns the sum of the losses of the tasks that are not left out."""
    pairs = zip(losses, weights)
    return sum(loss * weight for loss, weight in pairs if weight is not None)
