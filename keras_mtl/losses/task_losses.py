from collections.abc import Sequence
from typing import Any

from keras import ops

from keras_mtl.backend import replicas
from keras_mtl.backend.keras_internals import get_loss
from keras_mtl.backend.keras_internals import unscale_loss_for_distribution
from keras_mtl.losses import missing_labels
from keras_mtl.losses import over_replicas
from keras_mtl.losses.by_output import by_output
from keras_mtl.losses.output_is_loss import needs_labels
from keras_mtl.metrics.task_means import TaskMeans


class TaskLosses:
    """The losses of the tasks, each a scalar of its own.

    It is to several tasks what the `CompileLoss` of Keras is to their sum. One
    vector of losses would not do: each row of its Jacobian would pass through
    every head, and one NaN would reach all of them.

    Args:
        losses: Dict of task to loss, whose order is that of the tasks.
        factors: Dict of task to a constant factor of its loss, or `None`.
        output_keys: Names of all outputs.

    Attributes:
        tasks: List of the names of the tasks.
        labelled_tasks: List of those that have labels: the output of the others
            is their loss.
        means: `TaskMeans` of the losses in the present epoch.
        complete: Set of the tasks in whose training labels none is missing, or
            `None` while no labels have been seen.
    """

    def __init__(
        self,
        losses: dict[str, Any],
        factors: dict[str, float | None],
        output_keys: Sequence[str],
    ):
        self.tasks = list(losses)
        self.labelled_tasks = [t for t in losses if needs_labels(losses[t])]
        self.means = TaskMeans([f"{task}_loss" for task in self.tasks])
        self.complete = None
        self._losses = losses
        self._factors = factors
        self._output_keys = list(output_keys)
        self._resolved = {}

    def note_complete(self, y: Any) -> bool:
        """Notes the tasks in whose training labels none can be missing.

        They only get fewer, so that data with and without missing labels, in
        turn, do not compile the step each time.

        Returns:
            Whether they changed.
        """
        complete = missing_labels.complete(y, self._output_keys)
        if self.complete is not None:
            complete &= self.complete
        has_changed = complete != self.complete
        self.complete = complete
        return has_changed

    def compute(
        self,
        y: Any,
        y_pred: Any,
        sample_weight: Any = None,
        training: bool = True,
        record: bool = True,
        what: str = "labels",
    ) -> list[Any]:
        """Computes the losses of a batch.

        Args:
            y: Labels, dict of output name to tensor or list with one per
                output.
            y_pred: Predictions, in the structure of the outputs.
            sample_weight: Dict or list with the weights of each task's samples
                (`None` for equal ones), or one tensor for all tasks.
            training: Whether `y` are the labels that `fit` was given.
            record: Whether `means` get the losses.
            what: What `y` is, for errors.

        Returns:
            List of scalar tensors, the losses with their factors; with several
            replicas, divided by their number, as Keras does.
        """
        losses, counts = self._losses_and_counts(
            self.labels(y, what), y_pred, sample_weight, training
        )
        if record:
            plain = ops.stop_gradient(ops.stack(losses))
            self.means.update_state(
                unscale_loss_for_distribution(plain), ops.stack(counts)
            )
        return [self.with_factor(t, x) for t, x in zip(self.tasks, losses)]

    def with_factor(self, task: str, loss: Any) -> Any:
        """Returns a task's loss times its entry of `loss_weights`."""
        factor = self._factors[task]
        return loss if factor is None else loss * factor

    def loss_and_count(
        self,
        task: str,
        y_true: Any,
        y_pred: Any,
        sample_weight: Any,
        may_miss: bool,
    ) -> tuple[Any, Any]:
        """Returns a task's loss and its weight in the mean of the epoch.

        The weight is `None` where the batch size is not static: then, as in
        plain Keras, a last batch that is smaller counts as much as the others.
        """
        loss = self._resolve(task, y_true, y_pred)
        # An output that is the loss may be a scalar.
        count = y_pred.shape[0] if len(y_pred.shape) else None
        known, present = y_true, None
        if may_miss:
            known, present = missing_labels.split_missing(y_true, y_pred)
        if present is None or not missing_labels.can_leave_out(loss):
            value = loss(y_true, y_pred, sample_weight)
        else:
            value = missing_labels.loss_of_present(
                loss, known, y_pred, sample_weight, present
            )
            rank = missing_labels.label_rank(known, y_pred)
            present = missing_labels.reduce_present(present, rank)
            share = ops.mean(ops.cast(present, "float32"))
            count = share if count is None else count * share
        _check_is_scalar(task, value)
        return ops.cast(value, "float32"), count

    def labels(self, y: Any, what: str = "labels") -> dict[str, Any]:
        """Returns the labels as a dict, which has those of all tasks.

        Tasks whose output is their loss may have none.

        Args:
            y: Labels, dict of output name to tensor or list with one per
                output.
            what: What they are ("labels", "validation labels"), for errors.

        Raises:
            ValueError: If those of a task are missing, or some are of no
                output.
        """
        if y is None and not self.labelled_tasks:
            return {}
        names = self._output_keys
        for tasks in (self.labelled_tasks, self.tasks):
            # Keras, too, takes a list without entries for untrained outputs.
            if isinstance(y, (list, tuple)) and len(y) == len(tasks):
                names = [name for name in self._output_keys if name in tasks]
        y = by_output(what, y, names)
        unknown = [name for name in y if name not in self._output_keys]
        if unknown:
            subject = "`y` has" if what == "labels" else f"The {what} have"
            raise ValueError(
                f"{subject} keys that are no output: {unknown}. The outputs "
                f"are {self._output_keys}. Received: {list(y)}"
            )
        tasks = list(self.labelled_tasks)
        missing = [task for task in tasks if y.get(task) is None]
        if missing:
            raise ValueError(
                f"Expected {what} for all tasks: {tasks}. Missing: {missing}. "
                f"Received: {list(y)}. Labels that only some "
                "samples have are NaN where they are missing."
            )
        return y

    def with_stand_ins(
        self, y: dict[str, Any], y_pred: dict[str, Any]
    ) -> dict[str, Any]:
        """Returns labels in which zeros stand for those that no task needs."""
        absent = [task for task in self.tasks if y.get(task) is None]
        return {**y, **{task: ops.zeros_like(y_pred[task]) for task in absent}}

    def predictions(self, y_pred: Any) -> dict[str, Any]:
        """Returns the outputs of the model as a dict."""
        return by_output("predictions", y_pred, self._output_keys)

    def sample_weights(self, sample_weight: Any) -> dict[str, Any]:
        """Returns the weights of the samples for each task."""
        if not isinstance(sample_weight, (dict, list, tuple)):
            return dict.fromkeys(self.tasks, sample_weight)
        names = self._output_keys
        weights = by_output("`sample_weight`", sample_weight, names)
        unknown = [name for name in weights if name not in names]
        if unknown:
            raise ValueError(
                f"`sample_weight` has keys that are no output: {unknown}. "
                f"The outputs are {names}. Received: {list(weights)}"
            )
        return {task: weights.get(task) for task in self.tasks}

    def _losses_and_counts(self, y, y_pred, sample_weight, training):
        """Returns a list of the task losses and one of their weights."""
        y_pred = self.predictions(y_pred)
        weights = self.sample_weights(sample_weight)
        complete = set((self.complete or ()) if training else ())
        complete |= {task for task in self.tasks if y.get(task) is None}
        y = self.with_stand_ins(y, y_pred)
        batches = [
            (task, y[task], y_pred[task], weights[task], task not in complete)
            for task in self.tasks
        ]
        if replicas.count() > 1:
            return self._over_replicas(batches)
        losses, counts = zip(*[self.loss_and_count(*b) for b in batches])
        counts = [1.0 if count is None else count for count in counts]
        return list(losses), [ops.cast(count, "float32") for count in counts]

    def _over_replicas(self, batches):
        parts = []
        for task, y_true, y_pred, *rest in batches:
            loss = self._resolve(task, y_true, y_pred)
            parts.append(
                over_replicas.loss_parts(task, loss, y_true, y_pred, *rest)
            )
        has_static_size = y_pred.shape[0] is not None
        return over_replicas.losses_and_counts(parts, has_static_size)

    def _resolve(self, task, y_true, y_pred):
        """Returns the loss of a task as an object, whatever `compile` took."""
        if task not in self._resolved:
            self._resolved[task] = get_loss(self._losses[task], y_true, y_pred)
        return self._resolved[task]


def _check_is_scalar(task, loss):
    if len(loss.shape):
        raise ValueError(
            f"Expected the loss of task {task!r} to be a scalar; a "
            '`keras.losses.Loss` needs a reduction, such as "mean". '
            f"Received: a loss of shape {tuple(loss.shape)}"
        )
