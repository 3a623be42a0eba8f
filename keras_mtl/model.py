"""`MultiTaskModel`: a Functional model whose tasks are balanced."""

import functools
import inspect
import math
import numbers
import warnings

import keras
import numpy as np
from keras import ops

from keras_mtl import weightings
from keras_mtl.backend import replicas
from keras_mtl.backend.keras_internals import TORCH_MODULES
from keras_mtl.backend.keras_internals import DotNotTrackScope
from keras_mtl.backend.keras_internals import Functional
from keras_mtl.backend.keras_internals import SerializableDict
from keras_mtl.backend.keras_internals import get_loss
from keras_mtl.backend.keras_internals import unscale_loss_for_distribution
from keras_mtl.datasets.shuffled_batches import ShuffledBatches
from keras_mtl.losses import missing_labels as labels
from keras_mtl.losses import over_replicas as whole_batch
from keras_mtl.metrics.task_means import TaskMeans
from keras_mtl.saving import exporting
from keras_mtl.saving.checkpointing import Checkpointing
from keras_mtl.saving.saved_state import SavedState
from keras_mtl.selection.task_sampler import TaskSampler
from keras_mtl.training import balancing
from keras_mtl.training import of_backend
from keras_mtl.training.gramian import TaskGramian
from keras_mtl.training.graph import GraphSplit
from keras_mtl.training.single_task import SingleTaskSteps
from keras_mtl.training.single_task import StepLogs
from keras_mtl.training.single_task import StepTokens

BackendTrainer = of_backend("trainer").BackendTrainer


@keras.saving.register_keras_serializable(package="keras_mtl")
class MultiTaskModel(Checkpointing, BackendTrainer, Functional):
    """A Functional model with several outputs, whose tasks are balanced.

    It is a `keras.Model` in all respects; `compile` and `fit` take one more
    argument, `weighting`. The tasks are the outputs that have a loss, in the
    order of the `loss` dict.

    A label that is NaN is missing: the task's loss is the mean over the labels
    that are there, and 0 where there is none. So are its metrics. That takes a
    loss or metric with one value per label: one that returns a scalar is NaN
    where a label is missing. A `Metric` class of the user's own gets the labels
    with NaN in `metrics`, and with zero weights in `weighted_metrics`. For
    integer labels, give a `sample_weight` per task with zeros for missing
    labels.

    If the loss of a task is NaN or infinite, the weighting keeps its weights
    and state, the model does as any Keras model (its parameters turn NaN;
    `keras.callbacks.TerminateOnNaN` stops it), and a warning at the end of the
    epoch names the task.

    A step that a `LossScaleOptimizer` skips, as float16 has by default, changes
    no state of the weighting either, also where the losses are finite and only
    their gradients overflow. bfloat16, as in any Keras model, has none, unless
    the optimizer is put into one.

    Limits are those of Keras: until 3.15, `steps_per_execution` is 1 on
    PyTorch, and SavedModels are exported on TensorFlow and JAX.

    Args:
        inputs: Input tensors, as of `keras.Model`.
        outputs: Dict of name to output tensor, or a list of output tensors,
            which are then named by their layers.
        name: Name of the model.

    Example:

    ```python
    inputs = keras.Input((8,))
    features = keras.layers.Dense(16, activation="relu")(inputs)
    outputs = {
        "price": keras.layers.Dense(1)(features),
        "sold": keras.layers.Dense(1, activation="sigmoid")(features),
    }
    model = keras_mtl.MultiTaskModel(inputs, outputs)
    model.compile(
        optimizer="adam",
        loss={"price": "mse", "sold": "binary_crossentropy"},
        weighting="nash_mtl",
    )
    history = model.fit(x, {"price": price, "sold": sold}, epochs=10)
    history.history["weight/sold"]
    ```
    """

    def __init__(self, inputs=None, outputs=None, name=None, **kwargs):
        leaves = keras.tree.flatten((inputs, outputs))
        if not leaves or not all(
            isinstance(x, keras.KerasTensor) for x in leaves
        ):
            raise ValueError(
                "MultiTaskModel is made from the inputs and outputs of a "
                "Functional graph: `MultiTaskModel(inputs, outputs)` with "
                "`keras.Input`s and what layers made of them. "
                f"Received: inputs={inputs}, outputs={outputs}"
            )
        super().__init__(inputs, outputs, name=name, **kwargs)
        self._weighting = None
        self._cut = None
        self._run_task = None
        self._steps = None
        self._is_selecting = False
        self._saved_state = SavedState(_seeds(self))
        self._complete = None
        self.output_keys = list(self.output_names)
        if isinstance(outputs, dict):
            # Flattened as the outputs are, which may be in another order.
            self.output_keys = keras.tree.flatten({key: key for key in outputs})
        is_dict = isinstance(outputs, dict)
        values = outputs.values() if is_dict else _as_list(outputs)
        is_flat = not any(keras.tree.is_nested(value) for value in values)
        if not is_flat or len(set(self.output_keys)) != len(self.outputs):
            raise ValueError(
                "Expected `outputs` to be a flat dict, or a list of tensors "
                f"of differently named layers. Received: outputs={outputs}"
            )

    # Compilation

    def compile(
        self,
        optimizer="rmsprop",
        loss=None,
        loss_weights=None,
        metrics=None,
        weighted_metrics=None,
        run_eagerly=False,
        steps_per_execution=1,
        jit_compile="auto",
        auto_scale_loss=True,
        weighting="equal",
    ):
        """Configures the model for training.

        Args:
            optimizer: As in `keras.Model.compile`, as are all arguments that
                are not listed here.
            loss: Dict of output name to loss, whose order is that of the
                tasks; a list with one loss per output; or one loss for all
                outputs. An output whose loss is `None` is not trained.
            loss_weights: Dict or list of floats, a constant factor of each
                loss. A weighting sees the losses with their factors, so that a
                method which does not depend on the scale of the losses does
                not depend on them either.
            metrics: Dict or list, as in `keras.Model.compile`; missing labels
                are left out.
            weighting: What `keras_mtl.weightings.get` takes: a name, a
                `Weighting`, or a list of loss balancing and gradient balancing.

        Raises:
            ValueError: If a loss names no output, an output has no loss, there
                are fewer than two tasks, the weighting is not known, or it
                needs gradients and the tasks share no variables.
        """
        weighting = weightings.get(weighting)
        losses = self._losses_by_output(loss)
        tasks = [name for name, value in losses.items() if value is not None]
        if len(tasks) < 2:
            raise ValueError(
                "MultiTaskModel balances two or more tasks, that is outputs "
                f"with a loss. Received: {tasks}. Use keras.Model for one task."
            )
        factors = self._factors_by_task(loss_weights, tasks)
        self._check_weighting(weighting, tasks)
        with DotNotTrackScope():
            self._task_losses = {task: losses[task] for task in tasks}
            self._resolved_losses = {}
            self._loss_factors = factors
            self._complete = None
            self._steps = None
            self.tasks = tasks
            self._loss_means = TaskMeans([f"{t}_loss" for t in tasks])
            self._weight_means = TaskMeans([f"weight/{t}" for t in tasks])
        super().compile(
            optimizer=optimizer,
            metrics=None,
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
            auto_scale_loss=auto_scale_loss,
        )
        with DotNotTrackScope():
            # Without metrics, too: with it, `fit` looks at one batch first, and
            # shuffles, as it does for a plain model.
            self._compile_metrics = labels.PresentLabelMetrics(
                metrics, weighted_metrics, output_names=self.output_names
            )
            self.loss = loss
            self._compile_config = SerializableDict(
                **{
                    **self._compile_config.config,
                    "loss": loss,
                    "loss_weights": loss_weights,
                    "metrics": metrics,
                    "weighted_metrics": weighted_metrics,
                    # Not as resolved for this backend: "auto" may mean another
                    # thing where the file is loaded.
                    "jit_compile": jit_compile,
                    "auto_scale_loss": auto_scale_loss,
                }
            )
        replicas.check_optimizer(self)
        self._set_weighting(weighting)

    def _losses_by_output(self, loss):
        names = list(self.output_keys)
        if loss is None:
            raise ValueError(
                "Expected `loss` to be a dict with one loss per output, that "
                f"is for {names}. Received: loss=None"
            )
        if isinstance(loss, dict):
            unknown = [name for name in loss if name not in names]
            missing = [name for name in names if name not in loss]
            if unknown:
                raise ValueError(
                    f"`loss` has keys that are no output: {unknown}. The "
                    f"outputs are {names}. Received: loss={loss}"
                )
            if missing:
                raise ValueError(
                    f"`loss` has no entry for the outputs {missing}; `None` "
                    f"leaves an output untrained. Received: loss={loss}"
                )
        elif isinstance(loss, (list, tuple)):
            loss = labels.by_output("`loss`", loss, names)
        else:
            loss = {name: loss for name in names}
        for name, value in loss.items():
            if isinstance(value, (list, tuple, dict)):
                raise ValueError(
                    f"Expected one loss for the task {name!r}. "
                    f"Received: {value}"
                )
        return loss

    def _factors_by_task(self, loss_weights, tasks):
        if loss_weights is None:
            return {task: None for task in tasks}
        factors = loss_weights
        if not isinstance(factors, dict):
            factors = labels.by_output(
                "`loss_weights`", factors, self.output_keys
            )
        unknown = [name for name in factors if name not in self.output_keys]
        if unknown:
            raise ValueError(
                f"`loss_weights` has keys that are no output: {unknown}. The "
                f"outputs are {list(self.output_keys)}. "
                f"Received: loss_weights={loss_weights}"
            )
        for name, factor in factors.items():
            if factor is not None and not isinstance(factor, numbers.Real):
                raise ValueError(
                    f"Expected the entry of `loss_weights` for {name!r} to be "
                    f"a number. Received: {factor} of type {type(factor)}"
                )
        return {task: factors.get(task) for task in tasks}

    @property
    def weighting(self):
        """The `Weighting` in use, `None` before `compile`."""
        return self._weighting

    @property
    def weights(self):
        """The weights of the network, which are those of the plain model."""
        # Before `__init__` is done, Keras asks for them, too.
        weighting = getattr(self, "_weighting", None)
        own = set() if weighting is None else set(map(id, weighting.weights))
        return [v for v in super().weights if id(v) not in own]

    @property
    def selection_state(self):
        """The state of a `TaskSampler` that the model's file had, or `None`.

        A file that was written while `fit` ran with a sampler has it, for
        `TaskSampler.set_state`.
        """
        return self._saved_state.loaded

    def _set_weighting(self, weighting):
        with DotNotTrackScope():
            self._split = self._check_weighting(weighting, list(self.tasks))
        if not weighting.built:
            weighting.build((len(self.tasks),))
        replicas.check_variables(self, weighting)
        if self._weighting is not None:
            # Keras does not forget a layer when its attribute is replaced.
            self._tracker.untrack(self._weighting)
        self._weighting = weighting
        self.train_function = None

    def _check_weighting(self, weighting, tasks):
        """Returns the `GraphSplit` if the weighting needs one."""
        if weighting.built and weighting.num_tasks != len(tasks):
            raise ValueError(
                f"Expected a weighting for the {len(tasks)} tasks {tasks}. "
                f"Received: {weighting}, in use for {weighting.num_tasks} tasks"
            )
        if not weighting.needs_gradients:
            return None
        output_tasks = [k if k in tasks else None for k in self.output_keys]
        split = GraphSplit(self, output_tasks, tasks)
        balancing.measured_variables(split, weighting)
        return split

    def get_compile_config(self):
        if not self.compiled:
            return {}
        config = SerializableDict(
            **self._compile_config.config, weighting=self.weighting
        ).serialize()
        return _for_every_backend(config)

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.optimizer is not None and self.built:
            self.optimizer.build(self.trainable_variables)

    # Training

    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        epochs=1,
        verbose="auto",
        callbacks=None,
        *args,
        weighting=None,
        **kwargs,
    ):
        """Trains the model, as `keras.Model.fit`.

        With a `keras_mtl.selection.TaskSampler`, each step trains the task that
        the sampler chooses, with an equal weighting.

        Args:
            x: As of `keras.Model.fit`, or a `TaskSampler`. With that,
                `validation_data` may also be a dict of task to its data, each
                gone through once. Then `val_loss` is the sum of the
                `val_<task>_loss` with their `loss_weights`. A data set with a
                method `set_epoch`, such as `ShuffledBatches`, is told the
                number of each epoch before it begins.
            weighting: A weighting that replaces that of `compile` from now on,
                as in `compile`. The state of the optimizer is kept, the new
                weighting begins anew. By default training goes on with the
                present weighting and its state.

        Returns:
            A `keras.callbacks.History`. Its `loss` is the sum of the task
            losses with their `loss_weights` (and the model's own losses),
            whatever the weighting is; `<task>_loss` is a task's loss,
            `weight/<task>` the mean of its weights and `task_variance` the
            variance of the task losses over the tasks. With a `TaskSampler`,
            `loss` is the mean over all steps, of the loss of their tasks;
            `<task>_loss` and the task's metrics are those of its own steps,
            NaN in an epoch without any; `share/<task>` is its share of the
            steps.
        """
        self._assert_compile_called("fit")
        if weighting is not None:
            with replicas.scope(self):
                self._set_weighting(weightings.get(weighting))
        hooks = _EpochHooks(self, x)
        if isinstance(callbacks, keras.callbacks.CallbackList):
            hooks.insert_into(callbacks)
        else:
            callbacks = [hooks, *_as_list(callbacks)]
        args = (x, y, batch_size, epochs, verbose, callbacks, *args)
        if isinstance(x, TaskSampler):
            return self._fit_tasks(super().fit, x, args, kwargs)
        if isinstance(x, ShuffledBatches):
            self._note_complete(x.y)
            return super().fit(**_in_own_order(super().fit, args, kwargs))
        self._note_complete(y)
        return super().fit(*args, **kwargs)

    def _fit_tasks(self, fit, sampler, args, kwargs):
        arguments = inspect.signature(fit).bind(*args, **kwargs).arguments
        for name in ("y", "batch_size", "sample_weight", "class_weight"):
            if arguments.get(name) is not None:
                raise ValueError(
                    "Expected a `TaskSampler` to have all training data, and "
                    f"no `{name}`. Received: {name}={arguments[name]}"
                )
        if arguments.get("validation_split"):
            raise ValueError(
                "Expected `validation_data` with a `TaskSampler`. Received: "
                f"validation_split={arguments['validation_split']}"
            )
        if self._steps is None or not self._steps.go_on_with(sampler):
            with DotNotTrackScope():
                self._steps = SingleTaskSteps(self, sampler)
        self._steps.build()
        self._steps.take_validation_data(arguments)
        is_counted = arguments.get("steps_per_epoch") is None
        arguments["x"] = StepTokens(len(sampler) if is_counted else None)
        other_function, self.train_function = self.train_function, None
        self._is_selecting = True
        self._saved_state.sampler = sampler
        try:
            return fit(**arguments)
        finally:
            self._is_selecting = False
            self._saved_state.sampler = None
            self.train_function = other_function

    def train_on_batch(self, x, y=None, *args, **kwargs):
        self._note_complete(y)
        return super().train_on_batch(x, y, *args, **kwargs)

    def _note_complete(self, y):
        """Notes the tasks in whose training labels none can be missing.

        They only get fewer until `compile`, so that data with and without
        missing labels, in turn, do not compile the step each time.
        """
        complete = labels.complete(y, self.output_keys)
        if self._complete is not None:
            complete &= self._complete
        if complete != self._complete:
            self._complete = complete
            self.train_function = None

    def gramian(
        self, x, y, sample_weight=None, gradients="parameters", shared="auto"
    ):
        """Computes the inner products of the task gradients on a batch.

        They are what a gradient balancing would see in a training step on the
        batch, with dropout and the batch's own statistics, whatever the
        weighting is. No variable of the model changes. It is not compiled; for
        a whole training, see `keras_mtl.callbacks.GradientCosines`.

        Args:
            x: Inputs of the batch, as of `train_on_batch`.
            y: Labels of the batch, with NaN where they are missing.
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

    def export(
        self,
        filepath,
        format="tf_saved_model",
        *args,
        preprocessor=None,
        **kwargs,
    ):
        """Exports the network alone, as `keras.Model.export`.

        What loads it needs neither Keras nor this package. The outputs of an
        ONNX file have the names of the model's outputs.

        Args:
            filepath: Path of the folder or file.
            format: As of `keras.Model.export`, as are all arguments that are
                not listed here. ONNX (`format="onnx"`) takes the packages of
                `keras-mtl[onnx]` and, on JAX, `jax2onnx`.
            preprocessor: A preprocessor of KerasHub, or another function of
                tensors of TensorFlow, that makes the network's inputs. The
                SavedModel then takes what the preprocessor takes, by default
                one batch of strings, else what `input_signature` says, and
                `network` is the endpoint without it. What loads a tokenizer
                imports `tensorflow_text`.

        Raises:
            ValueError: If there is a `preprocessor` and the format or the
                backend has no SavedModel, if it does not return all inputs, or
                if an input and an output of an ONNX file have one name.

        Example:

        ```python
        preprocessor = keras_hub.models.TextClassifierPreprocessor.from_preset(
            "bert_tiny_en_uncased", sequence_length=64
        )
        model.export("saved_models/sentiment", preprocessor=preprocessor)

        # Where there is TensorFlow alone:
        served = tf.saved_model.load("saved_models/sentiment")
        served.serve(tf.constant(["A good film."]))
        ```
        """
        network = Functional(self.input, self.output, name=self.name)
        # Keras asks for it before it writes ONNX.
        network._called = True
        if preprocessor is not None:
            exporting.check_serves_preprocessor(format)
            exporting.export_with_preprocessor(
                network, filepath, preprocessor, *args, **kwargs
            )
            return
        if format == "onnx":
            exporting.check_onnx_names(self.inputs, self.output_keys)
        network.export(filepath, format, *args, **kwargs)
        if format == "onnx":
            exporting.name_onnx_outputs(filepath, self.output_keys)

    def make_train_function(self, force=False):
        if self._is_selecting:
            self.train_function = self._steps.train_function()
            return
        if self.train_function is None or force:
            # Layers may have been frozen since `compile`.
            with DotNotTrackScope():
                tasks = list(self.tasks)
                self._split = self._check_weighting(self.weighting, tasks)
        return super().make_train_function(force)

    def call(self, inputs, training=None, mask=None):
        if self._run_task is not None:
            return self._run_task(self.flat_inputs(inputs), training=training)
        if self._cut is None:
            return super().call(inputs, training=training, mask=mask)
        values = self._split.run_trunk(self.flat_inputs(inputs), training)
        return self.run_heads(values, self._cut(values), training)

    def forward_in_two(self, x, copy):
        """Runs the trunk, and the heads on copies that are cut off from it.

        Args:
            x: Inputs.
            copy: Function of a tensor that returns an equal one through which
                no gradient passes.

        Returns:
            Tuple `(y_pred, values, copies)`. See `GraphSplit`.
        """
        kept = {}

        def cut(values):
            kept["values"] = values
            kept["copies"] = {
                (key, task): labels.with_mask_of(values[key], copy(values[key]))
                for key, tasks in self._split.boundary.items()
                for task in tasks
            }
            return kept["copies"]

        # A call of the model, for what Keras does around `call`.
        self._cut = cut
        try:
            y_pred = self(x, training=True)
        finally:
            self._cut = None
        return y_pred, kept["values"], kept["copies"]

    def call_task(self, split, x, task, training):
        """Runs the trunk and the head of one task.

        Args:
            split: `GraphSplit`.
            x: Inputs.
            task: Name of the task.
            training: Boolean.

        Returns:
            The output tensor of the task.
        """
        # A call of the model, for what Keras does around `call`.
        self._run_task = functools.partial(split.run_task, task=task)
        try:
            return self(x, training=training)
        finally:
            self._run_task = None

    def flat_inputs(self, inputs):
        """Returns the inputs as a list, in the order of `self.inputs`."""
        return self._standardize_inputs(inputs)

    def first_input(self, x):
        """Returns the first tensor of the inputs; optional ones may be None."""
        return next(i for i in keras.tree.flatten(x) if i is not None)

    def run_heads(self, values, copies, training):
        """Returns the outputs in their structure. See `GraphSplit`."""
        outputs = self._split.run_heads(values, copies, training)
        return keras.tree.pack_sequence_as(self._outputs_struct, outputs)

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        """Computes the loss that the optimizer sees.

        In training its value is the sum of the task losses, so that runs with
        different weightings compare, and its gradient is that of the weighted
        sum.

        Returns:
            A scalar tensor.
        """
        losses = self.compute_task_losses(y, y_pred, sample_weight, training)
        total = self.total_loss(losses)
        if training:
            weights = self.weighting(self.losses_to_weight(losses))
            self.update_weight_metrics(weights)
            pairs = zip(ops.unstack(weights), losses)
            weighted = sum(weight * loss for weight, loss in pairs)
            # The difference is exactly 0 and has the gradient of `weighted`.
            balanced = weighted - ops.stop_gradient(weighted)
            total = ops.stop_gradient(total) + balanced
        penalty = self.compute_penalty()
        return total if penalty is None else total + penalty

    def total_loss(self, losses, penalty=None):
        """Returns the `loss` of the history, whatever the weighting is."""
        total = sum(losses[1:], losses[0])
        return total if penalty is None else total + penalty

    def compute_penalty(self):
        """Returns the sum of `add_loss` and regularizers, `None` if none."""
        return self.sum_penalties(self.losses)

    def sum_penalties(self, losses):
        losses = [self._aggregate_additional_loss(loss) for loss in losses]
        return sum(losses[1:], losses[0]) if losses else None

    def compute_task_losses(self, y, y_pred, sample_weight=None, training=True):
        """Computes the losses of the tasks and updates their metrics.

        Args:
            y: Labels, dict of output name to tensor or list with one per
                output.
            y_pred: Predictions, in the structure of the outputs.
            sample_weight: Dict or list with the weights of each task's samples
                (`None` for equal ones), or one tensor for all tasks.
            training: Whether `y` are the labels that `fit` was given.

        Returns:
            List of scalar tensors, the losses with their `loss_weights`; with
            several replicas, divided by their number, as Keras does.
        """
        losses, counts = self._losses_and_counts(
            y, y_pred, sample_weight, training
        )
        plain = ops.stop_gradient(ops.stack(losses))
        self._loss_means.update_state(
            unscale_loss_for_distribution(plain), ops.stack(counts)
        )
        return self._with_factors(losses)

    def losses_without_metrics(self, y, y_pred, sample_weight=None):
        """As `compute_task_losses` in training, and records nothing."""
        losses, _ = self._losses_and_counts(y, y_pred, sample_weight, True)
        return self._with_factors(losses)

    def losses_after_step(self, x, y, sample_weight=None):
        """Computes the losses of a batch anew, and records nothing.

        Returns:
            Tensor of shape `(T,)`, the losses with their `loss_weights`.
        """
        y_pred = self(x, training=True)
        return self.losses_to_weight(
            self.losses_without_metrics(y, y_pred, sample_weight)
        )

    def losses_to_weight(self, losses):
        """Returns what a weighting sees of a list of task losses, `(T,)`."""
        losses = unscale_loss_for_distribution(ops.stack(losses))
        return ops.stop_gradient(losses)

    @property
    def measures_part_of_batch(self):
        """Whether the step begins with a pass of a part of the batch."""
        weighting = self.weighting
        return (
            weighting.gramian_batch < 1 and weighting.gradients == "parameters"
        )

    def network_state(self):
        """Lists what a forward pass may change: statistics and seeds."""
        own = set(map(id, self.weighting.variables))
        return [v for v in self.non_trainable_variables if id(v) not in own]

    def _with_factors(self, losses):
        return [self.with_factor(*pair) for pair in zip(self.tasks, losses)]

    def with_factor(self, task, loss):
        """Returns a task's loss with its entry of `loss_weights`."""
        factor = self._loss_factors[task]
        return loss if factor is None else loss * factor

    def _losses_and_counts(self, y, y_pred, sample_weight, training):
        """Returns a list of the task losses and one of their weights."""
        y = self._labels(y)
        y_pred = labels.by_output("predictions", y_pred, self.output_keys)
        sample_weight = self._sample_weights(sample_weight)
        losses, counts = [], []
        complete = (self._complete or ()) if training else ()
        arguments = [
            (t, y[t], y_pred[t], sample_weight[t], t not in complete)
            for t in self.tasks
        ]
        if replicas.count() > 1:
            return self._losses_over_replicas(arguments)
        for each in arguments:
            loss, count = self.task_loss(*each)
            losses.append(loss)
            counts.append(ops.cast(1.0 if count is None else count, "float32"))
        return losses, counts

    def _losses_over_replicas(self, arguments):
        parts = []
        for task, y_true, y_pred, *rest in arguments:
            loss = self._loss_of(task, y_true, y_pred)
            parts.append(
                whole_batch.loss_parts(task, loss, y_true, y_pred, *rest)
            )
        return whole_batch.losses_and_counts(parts, y_pred.shape[0] is not None)

    def _loss_of(self, task, y_true, y_pred):
        if task not in self._resolved_losses:
            self._resolved_losses[task] = get_loss(
                self._task_losses[task], y_true, y_pred
            )
        return self._resolved_losses[task]

    def task_loss(self, task, y_true, y_pred, sample_weight, may_miss):
        """Returns a task's loss and its weight in the mean of the epoch."""
        loss = self._loss_of(task, y_true, y_pred)
        # `None` where the batch size is not static: then, as in plain Keras, a
        # last batch that is smaller counts the same.
        count = y_pred.shape[0]
        known, present = y_true, None
        if may_miss:
            known, present = labels.split_missing(y_true, y_pred)
        if present is None or not labels.can_leave_out(loss):
            loss = loss(y_true, y_pred, sample_weight)
        else:
            loss = labels.loss_of_present(
                loss, known, y_pred, sample_weight, present
            )
            rank = labels.label_rank(known, y_pred)
            present = labels.reduce_present(present, rank)
            share = ops.mean(ops.cast(present, "float32"))
            count = share if count is None else count * share
        if len(loss.shape):
            raise ValueError(
                f"Expected the loss of task {task!r} to be a scalar; a "
                '`keras.losses.Loss` needs a reduction, such as "mean". '
                f"Received: a loss of shape {tuple(loss.shape)}"
            )
        return ops.cast(loss, "float32"), count

    def _labels(self, y):
        names = self.output_keys
        if isinstance(y, (list, tuple)) and len(y) == len(self.tasks):
            # As Keras does, without entries for outputs that have no loss.
            names = [name for name in names if name in self.tasks]
        y = labels.by_output("labels", y, names)
        missing = [task for task in self.tasks if y.get(task) is None]
        if missing:
            raise ValueError(
                f"Expected labels for all tasks: {list(self.tasks)}. Missing: "
                f"{missing}. Received: {list(y)}. Labels that only some "
                "samples have are NaN where they are missing."
            )
        return y

    def _sample_weights(self, sample_weight):
        if isinstance(sample_weight, (dict, list, tuple)):
            weights = labels.by_output(
                "`sample_weight`", sample_weight, self.output_keys
            )
            unknown = [name for name in weights if name not in self.output_keys]
            if unknown:
                raise ValueError(
                    f"`sample_weight` has keys that are no output: {unknown}. "
                    f"The outputs are {list(self.output_keys)}. "
                    f"Received: {list(weights)}"
                )
            return {task: weights.get(task) for task in self.tasks}
        return {task: sample_weight for task in self.tasks}

    def update_weight_metrics(self, weights):
        """Records the weights, shape `(T,)`, of a step."""
        self._weight_means.update_state(weights)

    # Metrics

    @property
    def metrics(self):
        own = [self._loss_means, self._weight_means] if self.compiled else []
        return super().metrics + own

    def _flatten_metrics_in_order(self, logs):
        # As plain Keras, where each loss is a metric of its own.
        tasks = self.tasks
        if not isinstance(self._outputs_struct, dict):
            tasks = [name for name in self.output_keys if name in tasks]
        names = ["loss", *(f"{t}_loss" for t in tasks), *self.metrics_names]
        names = [name for name in dict.fromkeys(names) if name in logs]
        rest = sorted(name for name in logs if name not in names)
        return [logs[name] for name in names + rest]

    def _get_metrics_result_or_logs(self, logs):
        if isinstance(logs, StepLogs):
            return self._steps.epoch_logs(self.get_metrics_result())
        results = self.get_metrics_result()
        if set(logs) == set(_without_weights(results)):
            # Of `evaluate`; Keras would take the logs of the last step, which
            # with several replicas are a mean of what each of them has.
            return _without_weights(results)
        return super()._get_metrics_result_or_logs(logs)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        y_pred = labels.by_output("predictions", y_pred, self.output_keys)
        y = {**dict.fromkeys(self.output_keys), **self._labels(y)}
        weights = self._sample_weights(sample_weight)
        self._compile_metrics.update_state(y, y_pred, weights)
        return self.get_metrics_result()

    def test_step(self, *args):
        # The weights are of training: `evaluate` does not report them.
        result = super().test_step(*args)
        logs, *state = result if isinstance(result, tuple) else (result,)
        logs = _without_weights(logs)
        return (logs, *state) if state else logs


def _for_every_backend(config):
    """Names optimizers as Keras does; those of PyTorch have their own names.

    There, `keras.optimizers.Adam` makes an object of another class.
    """
    if isinstance(config, (list, tuple)):
        return type(config)(map(_for_every_backend, config))
    if not isinstance(config, dict):
        return config
    config = {key: _for_every_backend(value) for key, value in config.items()}
    if str(config.get("module")).startswith(TORCH_MODULES):
        config.update(module="keras.optimizers", registered_name=None)
    return config


def _seeds(model):
    """Lists the states of the random numbers that a model's layers draw."""
    name = "seed_generator_state"
    return [v for v in model.non_trainable_variables if v.name == name]


class _EpochHooks(keras.callbacks.Callback):
    """Tells the weighting of epochs, and the user of losses that are NaN."""

    def __init__(self, model, data):
        super().__init__()
        # A callback list that is given sets the model of its own alone.
        self.set_model(model)
        self._set_epoch = getattr(data, "set_epoch", None)
        self._weighting = model.weighting
        self._tasks = model.tasks

    def insert_into(self, callback_list):
        """Comes first: what a later callback saves must be up to date."""
        others = [
            callback
            for callback in callback_list.callbacks
            if not isinstance(callback, _EpochHooks)
        ]
        callback_list.callbacks[:] = [self, *others]

    def on_train_begin(self, logs=None):
        self._begins = True

    def on_epoch_begin(self, epoch, logs=None):
        # Here, a callback has said if the training goes on.
        self.model._saved_state.begin_epoch(self._begins and epoch > 0)
        self._begins = False
        if self._set_epoch is not None:
            self._set_epoch(epoch)
        self._weighting.on_epoch_begin()
        if self.model._is_selecting:
            self.model._steps.begin_epoch()

    def on_epoch_end(self, epoch, logs=None):
        self._weighting.on_epoch_end()
        tasks = self._tasks
        if self.model._is_selecting:
            tasks = self.model._steps.drawn_tasks()
            logs.update(self.model._steps.validate(epoch))
        losses = {task: logs.get(f"{task}_loss", 0.0) for task in tasks}
        # As `ReduceLROnPlateau` adds the learning rate.
        logs["task_variance"] = float(np.var(list(losses.values())))
        self._warn("was not finite", losses, lambda x: not math.isfinite(x))
        if self._weighting.needs_positive_losses:
            self._warn(
                "was negative, which the weighting "
                f"{type(self._weighting).__name__} gives no weight",
                losses,
                lambda x: x < 0,
            )

    def _warn(self, what, losses, is_bad):
        bad = {task: float(x) for task, x in losses.items() if is_bad(float(x))}
        if bad:
            warnings.warn(
                f"The mean loss of the epoch {what}, for the tasks: {bad}",
                stacklevel=2,
            )


def _in_own_order(fit, args, kwargs):
    """Returns the arguments of `fit` for data that shuffle themselves."""
    arguments = inspect.signature(fit).bind(*args, **kwargs).arguments
    if arguments.get("steps_per_epoch") is not None:
        raise ValueError(
            "Expected no `steps_per_epoch` with `ShuffledBatches`, each epoch "
            "of which goes through all examples. Received: steps_per_epoch="
            f"{arguments['steps_per_epoch']}"
        )
    return {**arguments, "shuffle": False}


def _without_weights(logs):
    return {k: v for k, v in logs.items() if not k.startswith("weight/")}


def _as_list(callbacks):
    if callbacks is None:
        return []
    return callbacks if isinstance(callbacks, (list, tuple)) else [callbacks]
