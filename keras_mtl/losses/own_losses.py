"""The losses of tasks that a model computes itself."""

from keras import ops

from keras_mtl.backend import replicas
from keras_mtl.backend.keras_internals import unscale_loss_for_distribution
from keras_mtl.losses import over_replicas
from keras_mtl.losses.scalars import by_task
from keras_mtl.losses.scalars import check_is_scalar
from keras_mtl.metrics.task_means import TaskMeans


class OwnLosses:
    """The losses of the tasks of a model, as a method of its class makes them.

    Args:
        tasks: List of the names of the tasks.

    Attributes:
        tasks: That list.
        means: `TaskMeans` of the losses in the present epoch.
        complete: `None`, since nothing is known of labels.
    """

    complete = None

    def __init__(self, tasks):
        self.tasks = list(tasks)
        self.means = TaskMeans([f"{task}_loss" for task in self.tasks])

    def checked(self, losses, record=True):
        """Returns the losses of a batch as a list, in the order of the tasks.

        Args:
            losses: What the method returned.
            record: Whether `means` get the losses.

        Raises:
            ValueError: If they are not a scalar for each of the tasks.
        """
        named = by_task(losses)
        if set(named) != set(self.tasks):
            raise ValueError(
                "Expected `compute_task_losses` to return losses of the same "
                f"tasks in each step: {self.tasks}. Received: losses of "
                f"{list(named)}. A task without a label in a batch has a loss "
                "of 0."
            )
        for task, loss in named.items():
            check_is_scalar(task, loss)
        losses = [ops.cast(named[task], "float32") for task in self.tasks]
        if replicas.count() > 1:
            losses = over_replicas.mean_losses(losses)
        if record:
            plain = ops.stop_gradient(ops.stack(losses))
            self.means.update_state(unscale_loss_for_distribution(plain))
        return losses
