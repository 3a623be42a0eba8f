"""Training steps that each train the trunk and the head of one task."""

import itertools
import math

import keras
import numpy as np
from keras import ops

from keras_mtl.backend import replicas
from keras_mtl.backend.keras_internals import made_as_weights
from keras_mtl.selection.task_batches import one_pass
from keras_mtl.training import fit_arguments
from keras_mtl.training import of_backend
from keras_mtl.training import overrides
from keras_mtl.training.logs import StepLogs
from keras_mtl.training.split_call import call_task

_backend = of_backend("single_task")


class SingleTaskSteps:
    """The steps of a `MultiTaskModel` whose tasks a `TaskSampler` chooses.

    There is one compiled function per task, which holds nothing of the other
    tasks, and which task's is called is decided outside of them. So a step
    costs what it costs to train that task, whatever the number of tasks is.

    Args:
        model: Compiled `MultiTaskModel`.
        sampler: `TaskSampler`.

    Attributes:
        variables: Dict of task to the trainable variables that it reaches.
        state: Dict of task to other variables that its forward pass may change.
        counts: Number of steps of each of `model.tasks` in the present epoch.

    Raises:
        ValueError: If model and sampler do not fit together.
    """

    def __init__(self, model, sampler):
        _check(model, sampler)
        tasks = list(model.tasks)
        self.model = model
        self.sampler = sampler
        self.split = model._make_split(tasks)
        self._layers = {task: self.split.task_layers(task) for task in tasks}
        self.variables = {
            task: self.split.task_variables(task) for task in tasks
        }
        self.state = {t: _other_variables(x) for t, x in self._layers.items()}
        self.needs_loss_after = sampler.reward.needs_loss_after
        self._complete = sampler.complete_tasks()
        self._key = self._key_of(model, sampler)
        self._function = None
        self._test_functions = {}
        self._validation = None
        self.begin_epoch()

    def _key_of(self, model, sampler):
        trainable = tuple(map(id, model.trainable_variables))
        after = sampler.reward.needs_loss_after
        return trainable, after, sampler.complete_tasks()

    def go_on_with(self, sampler):
        """Whether the compiled functions serve for this sampler, too."""
        if self._key_of(self.model, sampler) != self._key:
            return False
        _check(self.model, sampler)
        self.sampler = sampler
        return True

    def begin_epoch(self):
        self.counts = dict.fromkeys(self.model.tasks, 0)

    def build(self):
        """Builds metrics and optimizer, which one task's batch cannot do."""
        batches = {t: self.sampler.peek(i) for i, t in self._numbered()}
        x = next(iter(batches.values()))[0]
        size = self.model._first_input(x).shape[0]
        y = {
            task: keras.KerasTensor(
                (size, *np.shape(batch[1])[1:]),
                keras.backend.standardize_dtype(ops.dtype(batch[1])),
            )
            for task, batch in batches.items()
        }
        self.model._symbolic_build(data_batch=(x, y))

    def _numbered(self):
        return enumerate(self.sampler.tasks)

    def train_function(self):
        """Returns the function that `fit` calls for each step."""
        if self._function is None:
            self.functions = _backend.make_step_functions(self)
            self._function = _backend.make_train_function(self)
        return self._function

    def take_validation_data(self, arguments):
        """Takes those data from the arguments of `fit` that are per task."""
        data = arguments.get("validation_data")
        if not isinstance(data, dict):
            self._validation = None
            return
        overrides.check_with_data_of_tasks(self.model)
        unknown = [task for task in data if task not in self.model.tasks]
        if unknown or not data:
            raise ValueError(
                "Expected `validation_data` to be a dict of task to its data, "
                f"for tasks of {list(self.model.tasks)}. Received: a dict of "
                f"{list(data)}"
            )
        for task, own in data.items():
            fit_arguments.check_validation_data_of_task(task, own)
        names = "validation_data", "validation_batch_size", "validation_steps"
        data, batch_size, steps = map(arguments.get, names)
        arguments["validation_data"] = None
        batch_size = batch_size or self.sampler.batch_size
        frequency = arguments.get("validation_freq", 1)
        self._validation = data, batch_size, steps, frequency

    def validate(self, epoch):
        """Evaluates each task on its own data, after an epoch.

        Returns:
            Dict of name to value, whose names begin with `val_`.
        """
        if self._validation is None:
            return {}
        data, batch_size, steps, frequency = self._validation
        if not self.model._should_eval(epoch, frequency):
            return {}
        self.model.reset_metrics()
        logs = {}
        for task, own in data.items():
            if task not in self._test_functions:
                self._test_functions[task] = _backend.make_test_function(
                    self, task
                )
            batches = one_pass(own, batch_size)
            for batch in itertools.islice(batches, steps):
                logs.update(self._test_functions[task](batch))
        logs = {
            key: keras.tree.map_structure(float, value)
            for key, value in logs.items()
        }
        losses = self.model._task_losses
        logs["loss"] = sum(
            losses.with_factor(task, logs[f"{task}_loss"]) for task in data
        )
        return {f"val_{key}": value for key, value in logs.items()}

    def test(self, task, data):
        """Runs the forward pass of a task, and records its metrics."""
        loss, count, y_pred = self.forward(task, data, training=False)
        return self.record(task, data, loss, count, loss, y_pred)

    def forward(self, task, data, training=True):
        """Runs the forward pass of a task.

        Args:
            task: Name of the task.
            data: `(x, y)` or `(x, y, sample_weight)`.
            training: Boolean.

        Returns:
            Tuple `(loss, count, y_pred)`: the loss of the task, its weight in
            the mean of the epoch, and the predictions.
        """
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        y_pred = call_task(self.model, self.split, x, task, training)
        may_miss = not training or task not in self._complete
        loss, count = self.model._task_losses.loss_and_count(
            task, y, y_pred, sample_weight, may_miss
        )
        count = 1.0 if count is None else count
        if y_pred.shape[0] is None:
            count *= ops.cast(ops.shape(y_pred)[0], "float32")
        return loss, count, y_pred

    def total_loss(self, task, loss):
        """Returns the loss that is minimized.

        It is called after `forward`, whose layers have added their losses.
        """
        added = [
            x for layer in self._layers[task] for x in layer._get_own_losses()
        ]
        added += [
            v.regularizer(v) for v in self.variables[task] if v.regularizer
        ]
        return self.model._total_loss(
            [self.model._task_losses.with_factor(task, loss)],
            self.model._sum_penalties(added),
        )

    def record(self, task, data, loss, count, total, y_pred):
        """Updates the metrics of the task.

        Returns:
            Dict of name to value, the logs of the step.
        """
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        model, index = self.model, self.model.tasks.index(task)
        one = np.arange(len(model.tasks)) == index
        model._task_losses.means.update_state(
            ops.where(one, ops.stop_gradient(loss), 0.0),
            ops.where(one, ops.cast(count, "float32"), 0.0),
        )
        model._loss_tracker.update_state(
            ops.stop_gradient(total),
            sample_weight=ops.shape(model._first_input(x))[0],
        )
        model._compile_metrics.update_output(task, y, y_pred, sample_weight)
        means = model._task_losses.means
        return {
            "loss": model._loss_tracker.result(),
            f"{task}_loss": ops.divide_no_nan(
                means.total[index], means.count[index]
            ),
            **self._results(task),
        }

    def _results(self, task):
        metrics = self.model._compile_metrics.metrics_of(task)
        return {f"{task}_{metric.name}": metric.result() for metric in metrics}

    def run(self, step):
        """Lets the sampler choose a task, trains it, and tells the sampler.

        Args:
            step: Function of a task's name and its data that returns the logs,
                the loss, and the loss after the step or `None`.

        Returns:
            The logs of the step.
        """
        index, propensity, data = self.sampler.draw()
        task = self.sampler.tasks[index]
        logs, loss, loss_after = step(task, data)
        self.sampler.update(index, propensity, loss, loss_after)
        self.counts[task] += 1
        return StepLogs(logs)

    def epoch_logs(self, results):
        """Makes the logs of an epoch from the results of all metrics.

        NaN stands for a task that was not chosen in the epoch: no callback
        takes that for an improvement.
        """
        self.sampler.read()
        logs = {k: v for k, v in results.items() if k[:7] != "weight/"}
        for task, count in self.counts.items():
            if not count:
                own = {f"{task}_loss", *self._results(task)} & set(logs)
                logs.update(dict.fromkeys(own, math.nan))
        total = max(sum(self.counts.values()), 1)
        shares = {f"share/{t}": n / total for t, n in self.counts.items()}
        return {**logs, **shares}

    def drawn_tasks(self):
        return [task for task, count in self.counts.items() if count]


def _other_variables(layers):
    # The weights of frozen layers are not written to.
    weights = {id(v) for layer in layers for v in made_as_weights(layer)}
    variables = [v for layer in layers for v in layer.variables]
    unique = {id(v): v for v in variables if id(v) not in weights}
    return list(unique.values())


def _check(model, sampler):
    overrides.check_with_sampler(model)
    if set(sampler.tasks) != set(model.tasks):
        raise ValueError(
            "Expected a `TaskSampler` with data for each task of the model, "
            f"{list(model.tasks)}. Received: one of {sampler.tasks}"
        )
    if type(model.weighting).__name__ != "Equal":
        raise ValueError(
            "A step of a `TaskSampler` has one task, so there is nothing to "
            'weight. Expected weighting="equal". Received: '
            f"{model.weighting}"
        )
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    if optimizer.gradient_accumulation_steps:
        raise ValueError(
            "Expected an optimizer without `gradient_accumulation_steps`, "
            "which would join steps of different tasks; a `TaskSampler` takes "
            "a larger `batch_size`. Received: gradient_accumulation_steps="
            f"{optimizer.gradient_accumulation_steps}"
        )
    if replicas.has_several(model):
        raise ValueError(
            "Expected one device and one process: a `TaskSampler` does not go "
            "with a distribution."
        )
