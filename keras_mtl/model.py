"""`MultiTaskModel`: a Functional model whose tasks are balanced."""

from typing import Any

import keras

from keras_mtl import weightings
from keras_mtl.backend import replicas
from keras_mtl.backend.keras_internals import DotNotTrackScope
from keras_mtl.backend.keras_internals import Functional
from keras_mtl.balanced_model import BalancedModel
from keras_mtl.datasets.shuffled_batches import ShuffledBatches
from keras_mtl.losses import arguments as loss_arguments
from keras_mtl.losses.present_label_metrics import PresentLabelMetrics
from keras_mtl.losses.task_losses import TaskLosses
from keras_mtl.saving import exporting
from keras_mtl.saving.checkpointing import check_files
from keras_mtl.selection.task_sampler import TaskSampler
from keras_mtl.training import fit_arguments
from keras_mtl.training import logs as training_logs
from keras_mtl.training import task_selection
from keras_mtl.training.epoch_hooks import EpochHooks
from keras_mtl.training.fit_arguments import PAIRED
from keras_mtl.training.graph import GraphSplit
from keras_mtl.training.graph import split_of
from keras_mtl.training.graph_arguments import check_is_graph
from keras_mtl.training.graph_arguments import graph_of
from keras_mtl.training.parameters_by_task import parameters_by_task
from keras_mtl.training.parameters_by_task import table_of_parameters
from keras_mtl.training.progress import with_progress
from keras_mtl.training.split_call import SplitCall


@keras.saving.register_keras_serializable(package="keras_mtl")
class MultiTaskModel(BalancedModel, Functional):
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

    A task whose output is its loss, such as a Kullback-Leibler term, has no
    labels: `loss={"kl": keras_mtl.losses.OutputIsLoss(), ...}`.

    A step that a `LossScaleOptimizer` skips, as float16 has by default, changes
    no state of the weighting either, also where the losses are finite and only
    their gradients overflow. With bfloat16, Keras uses none unless you wrap the
    optimizer in one yourself.

    Limits are those of Keras: until 3.15, `steps_per_execution` is 1 on
    PyTorch, and SavedModels are exported on TensorFlow and JAX.

    Args:
        inputs: Input tensors, as of `keras.Model`.
        outputs: Dict of name to output tensor, or a list of output tensors,
            which are then named by their layers. Dicts cannot be nested: each
            tensor is an output with a key of its own.
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

    def __init__(
        self,
        inputs: Any = None,
        outputs: Any = None,
        name: str | None = None,
        **kwargs: Any,
    ):
        check_is_graph(inputs, outputs)
        super().__init__(inputs, outputs, name=name, **kwargs)
        self._begin_balanced()
        self._split_call = SplitCall()
        # The steps with a `TaskSampler`: those of the last `fit`, and those of
        # the `fit` that is running.
        self._single_task_steps = None
        self._selecting_steps = None
        self.output_keys = list(self.output_names)
        if isinstance(outputs, dict):
            # The keys are flattened as the outputs are, maybe in another order.
            self.output_keys = keras.tree.flatten({key: key for key in outputs})
        _check_outputs(outputs, self.output_keys, len(self.outputs))

    @classmethod
    def from_model(cls, model: keras.Model) -> "MultiTaskModel":
        """Makes a model of an existing Functional model.

        It has the same layers, and so the same weights: what trains one of the
        models trains the other. Only the graph is taken over. The new model has
        to be compiled, and what a subclass of `keras.Model` does beside the
        graph is refused.

        Args:
            model: Functional `keras.Model` with two or more outputs, such as
                one that was loaded from a `.keras` file. Outputs in a list are
                named by their layers.

        Returns:
            A `MultiTaskModel` with the name, inputs and outputs of `model`.

        Raises:
            ValueError: If the model is not Functional, has one output, or its
                class overrides `call`, a step, or a loss.

        Example:

        ```python
        model = keras.models.load_model("scene.keras")
        model = keras_mtl.MultiTaskModel.from_model(model)
        model.compile("adam", loss=..., weighting="nash_mtl")
        ```
        """
        inputs, outputs = graph_of(model, MultiTaskModel)
        return cls(inputs, outputs, name=model.name)

    # Compilation

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | str = "auto",
        auto_scale_loss: bool = True,
        weighting: Any = "equal",
    ) -> None:
        """Configures the model for training.

        Args:
            optimizer: As in `keras.Model.compile`, as are all arguments that
                are not listed here.
            loss: Dict of output name to loss, whose order is that of the
                tasks; a list with one loss per output; or one loss for all
                outputs. An output whose loss is `None`, or that the dict lacks,
                is not trained.
            loss_weights: Dict or list of floats, a constant factor of each
                loss, 1 for an output that the dict lacks. A weighting sees the
                losses with their factors, so that a method which does not
                depend on the scale of the losses does not depend on them
                either.
            metrics: Dict or list, as in `keras.Model.compile`; missing labels
                are left out.
            weighting: What `keras_mtl.weightings.get` takes: a name, a
                `Weighting`, a list of loss balancing and gradient balancing,
                or a dict of task to a fixed weight.

        Raises:
            ValueError: If a loss names no output, there are fewer than two
                tasks, the weighting is not known, or it needs gradients and the
                tasks share no variables.
        """
        fit_arguments.check_no_weighting_in_compile(
            optimizer, loss, loss_weights, metrics
        )
        weighting = weightings.get(weighting)
        task_losses = self._make_task_losses(loss, loss_weights)
        self._check_weighting(weighting, task_losses.tasks)
        self._set_task_losses(task_losses)
        super().compile(
            optimizer=optimizer,
            metrics=None,
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
            auto_scale_loss=auto_scale_loss,
        )
        with DotNotTrackScope():
            self._set_loss_and_metrics(loss, metrics, weighted_metrics)
            self._add_to_compile_config(
                loss=loss,
                loss_weights=loss_weights,
                metrics=metrics,
                weighted_metrics=weighted_metrics,
                # The argument as it was given: "auto" may mean another thing on
                # the backend where the file is loaded.
                jit_compile=jit_compile,
                auto_scale_loss=auto_scale_loss,
            )
        replicas.check_optimizer(self)
        self._set_weighting(weighting)

    def _set_loss_and_metrics(self, loss, metrics, weighted_metrics):
        self.loss = loss
        # The object is there without metrics, too: with it, `fit` looks at one
        # batch first, and shuffles, as it does for a plain model.
        self._compile_metrics = PresentLabelMetrics(
            metrics, weighted_metrics, output_names=self.output_names
        )

    def _make_task_losses(self, loss, loss_weights):
        names = list(self.output_keys)
        losses = loss_arguments.losses_by_output(loss, names)
        losses = {t: value for t, value in losses.items() if value is not None}
        if len(losses) < 2:
            raise ValueError(
                "MultiTaskModel balances two or more tasks, that is outputs "
                f"with a loss. Received: {list(losses)}. Use keras.Model for "
                "one task."
            )
        factors = loss_arguments.factors_by_task(
            loss_weights, list(losses), names
        )
        return TaskLosses(losses, factors, names)

    def _set_task_losses(self, task_losses: TaskLosses) -> None:
        super()._set_task_losses(task_losses)
        self._single_task_steps = None

    def _make_split(self, tasks, weighting=None):
        del weighting
        return GraphSplit(
            self,
            self.output_keys,
            tasks,
            has_own_call=self._overrides("call"),
            has_own_loss=self._overrides("compute_loss"),
        )

    def _overrides(self, name):
        """Whether the class of the model overrides a method of this one."""
        return getattr(type(self), name) is not getattr(MultiTaskModel, name)

    # Training

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: str | int = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool | str = True,
        class_weight: dict | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int = 1,
        weighting: Any = None,
        validation_for_weighting: Any = None,
    ) -> keras.callbacks.History:
        """Trains the model, as `keras.Model.fit`.

        With a `keras_mtl.selection.TaskSampler`, each step trains the task that
        the sampler chooses, with an equal weighting.

        Args:
            x: As of `keras.Model.fit`, or a `TaskSampler`. With a
                `TaskSampler`, `validation_data` may also be a dict of task to
                its data, all of which is evaluated after an epoch. Then
                `val_loss` is the sum of the `val_<task>_loss` with their
                `loss_weights`. A data set with a method `set_epoch`, such as
                `ShuffledBatches`, is told the number of each epoch before it
                begins.
            verbose: As of `keras.Model.fit`. The progress bar has the sum of
                the losses and, shortened, those of the tasks: the largest and
                the smallest where not all fit in a line. At the end of an
                epoch they are those on the validation data, if there are any.
            weighting: A weighting, as of `compile`, that replaces the present
                one. The optimizer keeps its state. A new weighting starts
                without any state, and the training step is compiled for it; an
                instance that was used before continues with its state, and the
                compiled steps of the last few weightings are kept. By default
                the present weighting continues.
            validation_for_weighting: Data from which a weighting with two
                levels, such as `"auto_lambda"`, learns the weights, as
                `validation_data`: `(x, y)` or `(x, y, sample_weight)` of
                arrays, shuffled, or a data set. Each step takes one batch of
                them, again and again.

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
        arguments = fit_arguments.of_keras(locals())
        self._assert_compile_called("fit")
        fit_arguments.check_no_weighting(arguments)
        check_files(callbacks)
        if weighting is not None:
            with replicas.scope(self):
                self._set_weighting(weightings.get(weighting))
        steps = None
        if isinstance(x, TaskSampler):
            fit_arguments.check_with_sampler(
                {**arguments, PAIRED: validation_for_weighting}
            )
            steps = task_selection.steps_for(self, x)
        if steps is None or not isinstance(validation_data, dict):
            fit_arguments.check_validation_data(self, validation_data)
        hooks = EpochHooks(self, x, steps)
        arguments["callbacks"] = with_progress(
            hooks.put_first(callbacks), self.tasks, verbose
        )
        if steps is not None:
            return task_selection.fit_tasks(self, super().fit, steps, arguments)
        if isinstance(x, ShuffledBatches):
            arguments, y = fit_arguments.in_own_order(arguments), x.y
        self._note_complete(y)
        arguments = self._with_pairs(arguments, validation_for_weighting)
        hooks.set_data(arguments["x"])
        with self._running.in_fit():
            return super().fit(**arguments)

    def _with_pairs(self, arguments, data):
        """Returns the arguments of `fit` with the data for the weighting."""
        if data is None:
            return arguments
        arguments = fit_arguments.with_pairs(self, arguments, data)
        fit_arguments.check_validation_data(self, data, PAIRED)
        is_array = isinstance(data, (tuple, list))
        self._note_complete(data[1] if is_array else None)
        return arguments

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: dict | None = None,
        return_dict: bool = False,
    ) -> Any:
        self._note_complete(y)
        return super().train_on_batch(
            x, y, sample_weight, class_weight, return_dict
        )

    def _note_complete(self, y):
        if self._task_losses.note_complete(y):
            self.train_function = None

    def summary_by_task(self, print_fn: Any = None) -> None:
        """Prints how many parameters the tasks share, and each has of its own.

        A parameter is shared if the losses of two or more tasks depend on it;
        one that no loss depends on is of no task. Before `compile`, each output
        is a task. `keras_mtl.plots.task_graph` has the same as a picture.

        Args:
            print_fn: Function that gets the table as text, by default `print`.

        Example:

        ```python
        model.summary_by_task()
        # parameters  trained  not trained
        # shared          352            0
        # price            33            0
        # sold             33            0
        # (total)         418            0
        ```
        """
        rows = parameters_by_task(split_of(self), self.weights)
        (print_fn or print)(table_of_parameters(rows))

    def export(
        self,
        filepath: Any,
        format: str = "tf_saved_model",
        verbose: bool | None = None,
        input_signature: Any = None,
        preprocessor: Any = None,
        **kwargs: Any,
    ) -> None:
        """Exports the network alone, as `keras.Model.export`.

        The export can be loaded without Keras and without this package. The
        outputs of an ONNX file have the names of the model's outputs.

        Args:
            filepath: Path of the folder or file.
            format: As of `keras.Model.export`, as are all arguments that are
                not listed here. ONNX (`format="onnx"`) takes the packages of
                the extra `onnx` and, on JAX, `jax2onnx`.
            preprocessor: A preprocessor of KerasHub, or another function of
                tensors of TensorFlow, that makes the network's inputs. The
                SavedModel then takes the inputs of the preprocessor: a batch of
                strings, or what `input_signature` says. Its endpoint `network`
                is the network without the preprocessor. To load a SavedModel
                with a tokenizer, import `tensorflow_text` first.

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
        exporting.export(
            self,
            filepath,
            format,
            preprocessor,
            verbose=verbose,
            input_signature=input_signature,
            **kwargs,
        )

    def make_train_function(self, force: bool = False) -> Any:
        if self._selecting_steps is not None:
            self.train_function = self._selecting_steps.train_function()
            return None
        return super().make_train_function(force)

    def call(
        self, inputs: Any, training: bool | None = None, mask: Any = None
    ) -> Any:
        run = self._split_call.run
        if run is None:
            return super().call(inputs, training=training, mask=mask)
        return run(self._standardize_inputs(inputs), training)

    def _losses_of(
        self, x, y, y_pred, sample_weight, training=True, record=True
    ):
        """Returns a list of the task losses of a batch, as `TaskLosses`."""
        del x
        what = self._running.what_labels
        return self._task_losses.compute(
            y, y_pred, sample_weight, training, record, what
        )

    # Metrics

    def _flatten_metrics_in_order(self, logs):
        tasks = self.tasks
        if not isinstance(self._outputs_struct, dict):
            tasks = [name for name in self.output_keys if name in tasks]
        return training_logs.in_order(logs, tasks, self.metrics_names)

    def _get_metrics_result_or_logs(self, logs):
        if isinstance(logs, training_logs.StepLogs):
            return self._selecting_steps.epoch_logs(self.get_metrics_result())
        return super()._get_metrics_result_or_logs(logs)

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        losses = self._task_losses
        y_pred = losses.predictions(y_pred)
        y = losses.with_stand_ins(losses.labels(y), y_pred)
        self._compile_metrics.update_state(
            {**dict.fromkeys(self.output_keys), **y},
            y_pred,
            losses.sample_weights(sample_weight),
        )
        return self.get_metrics_result()


def _check_outputs(outputs, names, count):
    values = outputs
    if isinstance(outputs, dict):
        values = list(outputs.values())
    elif not isinstance(outputs, (list, tuple)):
        values = [outputs]
    is_flat = not any(keras.tree.is_nested(value) for value in values)
    if not is_flat or len(set(names)) != count:
        raise ValueError(
            "Expected `outputs` to be a flat dict, or a list of tensors "
            f"of differently named layers. Received: outputs={outputs}"
        )
