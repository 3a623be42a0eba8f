"""What a model does whose tasks are balanced, whatever it is made of."""

import contextlib
from typing import Any

import keras
from keras import ops

from keras_mtl import weightings
from keras_mtl.backend import replicas
from keras_mtl.backend.compiling import entries
from keras_mtl.backend.keras_internals import DotNotTrackScope
from keras_mtl.backend.keras_internals import SerializableDict
from keras_mtl.backend.keras_internals import first_batch_of_epoch
from keras_mtl.backend.keras_internals import unscale_loss_for_distribution
from keras_mtl.metrics.task_means import TaskMeans
from keras_mtl.saving import compile_config
from keras_mtl.saving.checkpointing import Checkpointing
from keras_mtl.saving.saved_state import SavedState
from keras_mtl.training import logs as training_logs
from keras_mtl.training import of_backend
from keras_mtl.training import overrides
from keras_mtl.training.gramian import TaskGramian
from keras_mtl.training.kept_functions import KeptFunctions
from keras_mtl.training.measured_variables import measured_variables
from keras_mtl.training.measured_variables import warn_of_unseen_conflicts
from keras_mtl.training.paired_batches import PairedBatches
from keras_mtl.training.paired_batches import batch_to_train_on
from keras_mtl.training.parameter_groups import shapes_for
from keras_mtl.training.running_step import RunningStep
from keras_mtl.training.running_step import in_test_step
from keras_mtl.training.running_step import in_train_step

BackendTrainer = of_backend("trainer").BackendTrainer


class BalancedModel(Checkpointing, BackendTrainer):
    """The part of a model that balances its tasks, beside a class of Keras.

    A class that derives from it says what the losses of a batch are
    (`_losses_of`), which variables are shared (`_make_split`), and which
    methods a subclass overrides (`_overrides`).
    """

    def _begin_balanced(self):
        """Sets the attributes of a model that is not compiled."""
        self.tasks = None
        # What is known of the losses of the tasks.
        self._task_losses = None
        self._weighting = None
        self._loss_split = None
        self._running = RunningStep()
        self._saved_state = SavedState(self)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # What a subclass overrides is a step of the model, too.
        decorators = {"train_step": in_train_step, "test_step": in_test_step}
        for name, decorate in decorators.items():
            if name in vars(cls):
                setattr(cls, name, decorate(vars(cls)[name]))

    # Compilation

    def _set_task_losses(self, task_losses):
        with DotNotTrackScope():
            self.tasks = task_losses.tasks
            self._task_losses = task_losses
            self._kept_functions = KeptFunctions()
            self._weight_means = TaskMeans([f"weight/{t}" for t in self.tasks])

    def _add_to_compile_config(self, **arguments: Any) -> None:
        config = {**self._compile_config.config, **arguments}
        self._compile_config: Any = SerializableDict(**config)

    @property
    def weighting(self) -> weightings.Weighting | None:
        """The `Weighting` in use, `None` before `compile`."""
        return self._weighting

    @property
    def weights(self) -> list[Any]:
        """The weights of the network, which are those of the plain model."""
        # Keras asks for them before `__init__` is done, too.
        weighting = getattr(self, "_weighting", None)
        own = set() if weighting is None else set(map(id, weighting.weights))
        return [v for v in super().weights if id(v) not in own]

    @property
    def selection_state(self) -> dict[str, Any] | None:
        """The state of a `TaskSampler` that the model's file had, or `None`.

        A file that was written while `fit` ran with a sampler has it, for
        `TaskSampler.set_state`.
        """
        return self._saved_state.loaded

    def _set_weighting(self, weighting):
        with DotNotTrackScope():
            self._kept_functions.keep(self)
            self._split = self._check_weighting(weighting, list(self.tasks))
        if self._split is not None:
            warn_of_unseen_conflicts(self._split, weighting)
        if not weighting.built:
            weighting.build(*shapes_for(weighting, self.tasks, self._split))
        replicas.check_variables(self, weighting)
        if self._weighting is not None:
            # Keras does not forget a layer when its attribute is replaced.
            self._tracker.untrack(self._weighting)
        with self._unlocked():
            self._weighting = weighting
        self.train_function = None

    @contextlib.contextmanager
    def _unlocked(self):
        """A block in which a model that is built may get another layer."""
        was_locked = self._tracker.locked
        self._tracker.unlock()
        try:
            yield
        finally:
            if was_locked:
                self._tracker.lock()

    def _check_weighting(self, weighting, tasks):
        """Returns the `GraphSplit` if the weighting needs one."""
        weighting.name_tasks(tasks)
        if weighting.built and weighting.num_tasks != len(tasks):
            raise ValueError(
                f"Expected a weighting for the {len(tasks)} tasks {tasks}. "
                f"Received: {weighting}, in use for {weighting.num_tasks} tasks"
            )
        if not weighting.needs_gradients:
            return None
        split = self._make_split(tasks, weighting)
        if split.is_sorted:
            measured_variables(split, weighting)
        shapes_for(weighting, tasks, split)
        return split

    def get_compile_config(self) -> dict[str, Any]:
        if not self.compiled:
            return {}
        config = self._compile_config.config
        return compile_config.serialized(config, self.weighting)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.optimizer is not None and self.built:
            self.optimizer.build(self.trainable_variables)

    def make_train_function(self, force: bool = False) -> Any:
        if self.train_function is None or force:
            with DotNotTrackScope():
                # Layers may have been frozen since `compile`.
                tasks = list(self.tasks)
                self._split = self._check_weighting(self.weighting, tasks)
                if not force:
                    self._kept_functions.restore(self)
        made = super().make_train_function(force)
        self._kept_functions.note_made(self)
        return made

    def _symbolic_build(self, iterator=None, data_batch=None):
        is_paired = isinstance(
            getattr(iterator, "data_adapter", None), PairedBatches
        )
        if is_paired and data_batch is None:
            data_batch = first_batch_of_epoch(iterator)
        super()._symbolic_build(iterator, batch_to_train_on(data_batch))

    # Training

    def gramian(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        gradients: str = "parameters",
        shared: Any = "auto",
    ) -> Any:
        """Computes the inner products of the task gradients on a batch.

        They are what a gradient balancing would see in a training step on the
        batch, with dropout and the batch's own statistics, whatever the
        weighting is. No variable of the model changes. It is not compiled; for
        a whole training, see `keras_mtl.callbacks.GradientCosines`.

        Args:
            x: Inputs of the batch, as of `train_on_batch`.
            y: Labels of the batch, with NaN where they are missing; `None` if
                no task has any.
            sample_weight: As of `train_on_batch`.
            gradients: `"parameters"` or `"features"`, as of
                `keras_mtl.weightings.GradientWeighting`.
            shared: As of `keras_mtl.weightings.GradientWeighting`.

        Returns:
            Float32 NumPy array of shape `(T, T)`; the entry `[i, j]` is the
            inner product of the gradients of tasks `i` and `j`.

        Raises:
            ValueError: If the model is not compiled, its tasks share no
                variables, or an argument is not valid.
        """
        self._assert_compile_called("gramian")
        gramian = TaskGramian(self, gradients, shared, compiled=False)
        return gramian(x, y, sample_weight)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Computes the loss that the optimizer sees.

        In a step of the training its value is the sum of the task losses, so
        that runs with different weightings compare, and its gradient is that of
        the weighted sum. Elsewhere it is the sum, and no state changes.

        A subclass may override it and call it once. What it returns is the
        loss: its derivative with respect to the sum multiplies the balanced
        gradient, and what it adds is differentiated as it is, with the weight
        1, as a regularizer. What it adds is part of no task's gradient, and not
        of `gramian`.

        Returns:
            A scalar tensor.

        Raises:
            ValueError: If gradients are balanced and a `train_step` of the
                user's own calls it, since `train_step` itself balances them.
        """
        running = self._running
        if running.collector is not None:
            return running.collector.loss(self, x, y, y_pred, sample_weight)
        in_step = training and running.kind == "train"
        losses = self._losses_of(x, y, y_pred, sample_weight, in_step)
        total = self._total_loss(losses)
        if in_step:
            balanced = self._balanced_sum(losses)
            # The difference is exactly 0 and has the gradient of `balanced`.
            balanced = balanced - ops.stop_gradient(balanced)
            total = ops.stop_gradient(total) + balanced
        elif training and running.kind is None:
            overrides.warn_of_no_step(self)
        return self._total_loss([total], self._compute_penalty())

    def _balanced_sum(self, losses):
        """Returns the sum of the losses times the weights of this step."""
        if self.weighting.needs_gradients:
            raise overrides.own_step_error(self)
        self._running.note_balanced()
        weights = self.weighting(self._losses_to_weight(losses))
        self._record_weights(weights)
        pairs = zip(entries(weights), losses)
        return sum(weight * loss for weight, loss in pairs)

    def _check_is_balanced(self):
        """Raises an error after a step in which nothing was balanced."""
        overrides.check_is_balanced(self)

    def _record_weights(self, weights):
        """Updates the means of the weights, shape `(T,)`, in this epoch."""
        self._weight_means.update_state(weights)

    def _total_loss(self, losses, penalty=None):
        """Returns the `loss` of the history, whatever the weighting is."""
        total = sum(losses[1:], losses[0])
        return total if penalty is None else total + penalty

    def _compute_penalty(self):
        """Returns the sum of `add_loss` and regularizers, `None` if none."""
        return self._sum_penalties(self.losses)

    def _sum_penalties(self, losses):
        losses = [self._aggregate_additional_loss(loss) for loss in losses]
        return sum(losses[1:], losses[0]) if losses else None

    def _losses_to_weight(self, losses):
        """Returns what a weighting sees of a list of task losses, `(T,)`."""
        losses = unscale_loss_for_distribution(ops.stack(losses))
        return ops.stop_gradient(losses)

    @property
    def _split_to_sort(self):
        """The `LossSplit` that a step of loss balancing sorts, or `None`."""
        split = self._loss_split
        return None if split is None or split.is_sorted else split

    def _needs_validation(self):
        """Whether the weighting learns from validation data."""
        return self.weighting.needs_validation

    def _measures_part_of_batch(self):
        """Whether the step begins with a pass of a part of the batch."""
        weighting = self.weighting
        return (
            weighting.measurement.gramian_batch < 1
            and weighting.measurement.gradients == "parameters"
        )

    def _first_input(self, x):
        """Returns the first tensor of the inputs; optional ones may be None."""
        return next(i for i in keras.tree.flatten(x) if i is not None)

    # Metrics

    @property
    def metrics(self) -> list[keras.Metric]:
        own = []
        if self.compiled and self._task_losses is not None:
            own = [self._task_losses.means, self._weight_means]
        return super().metrics + own

    @property
    def metrics_names(self) -> list[str]:
        """The names of the metrics, with one for each task's loss and weight.

        The weights come last, as in the list that `train_on_batch` returns.
        """
        names = []
        for metric in self.metrics:
            is_of_tasks = isinstance(metric, TaskMeans)
            names += metric.keys if is_of_tasks else [metric.name]
        return sorted(names, key=training_logs.is_weight)

    def _get_metrics_result_or_logs(self, logs):
        results = training_logs.without_weights(self.get_metrics_result())
        if set(logs) == set(results):
            # The logs are those of the last step of `evaluate`, which with
            # several replicas are a mean of what each of them has.
            return results
        return super()._get_metrics_result_or_logs(logs)

    @in_train_step
    def train_step(self, *args: Any) -> Any:
        return super().train_step(*args)

    @in_test_step
    def test_step(self, *args: Any) -> Any:
        # The weights are of training: `evaluate` does not report them.
        result = super().test_step(*args)
        if not isinstance(result, tuple):
            return training_logs.without_weights(result)
        logs, *state = result
        return training_logs.without_weights(logs), *state
