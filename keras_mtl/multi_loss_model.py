"""`MultiLossModel`: a subclass of `keras.Model` whose tasks are balanced."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_mtl import weightings
from keras_mtl.backend import replicas
from keras_mtl.backend.keras_internals import DotNotTrackScope
from keras_mtl.backend.keras_internals import compute_output_spec
from keras_mtl.backend.keras_internals import first_batch_of_epoch
from keras_mtl.balanced_model import BalancedModel
from keras_mtl.losses.own_losses import OwnLosses
from keras_mtl.losses.scalars import by_task
from keras_mtl.losses.scalars import check_are_several
from keras_mtl.losses.scalars import check_is_scalar
from keras_mtl.saving import compile_config
from keras_mtl.saving.checkpointing import check_files
from keras_mtl.selection.task_sampler import TaskSampler
from keras_mtl.training import fit_arguments
from keras_mtl.training.epoch_hooks import EpochHooks
from keras_mtl.training.gramian import as_tensors
from keras_mtl.training.loss_split import LossSplit
from keras_mtl.training.paired_batches import batch_to_train_on


class MultiLossModel(BalancedModel, keras.Model):
    """A `keras.Model` of any kind, whose class computes a loss for each task.

    It is for what is no Functional graph with one loss per output: a `call` in
    plain Python, a loss of several outputs, losses that need further forward
    passes. A subclass has `call` as any `keras.Model`, and overrides
    `compute_task_losses`, which returns a dict of task to scalar. `compile`
    takes no `loss`; `fit`, callbacks, saving and resuming are those of
    `MultiTaskModel`.

    Which variables are shared is found from which losses depend on which
    variables, when the first step is traced, and on PyTorch in each step.
    Another class of Keras may stand beside it:
    `class Model(keras_mtl.MultiLossModel, SomeModel)`.

    There is no graph, and so no `gradients="features"`, no `TaskSampler`, and
    no search for missing labels: a task without a label has a loss of 0. A
    layer's `add_loss` counts where `call` runs the layer. With several
    replicas, a task's loss is the mean of what the replicas compute of their
    parts of the batch; on JAX, it is that of the whole batch. The first step
    raises an error if a loss depends on no variable that is trained, as where
    it is `0.0` for a task whose labels are missing in that batch: let it be
    `0.0 * loss`.

    Args:
        *args: As of `keras.Model`.
        **kwargs: As of `keras.Model`.

    Example:

    ```python
    class Autoencoder(keras_mtl.MultiLossModel):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.encoder = keras.layers.Dense(8)
            self.decoder = keras.layers.Dense(32)

        def call(self, x):
            return self.decoder(self.encoder(x))

        def compute_task_losses(
            self, x, y, y_pred, sample_weight=None, training=True
        ):
            code = self.encoder(x)
            return {
                "reconstruction": ops.mean((x - y_pred) ** 2),
                "code": ops.mean(code**2),
            }

    model = Autoencoder()
    model.compile("adam", weighting="nash_mtl")
    model.fit(x)
    ```
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._begin_balanced()

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
        tasks: Sequence[str] | None = None,
    ) -> None:
        """Configures the model for training.

        Args:
            optimizer: As in `keras.Model.compile`, as are all arguments that
                are not listed here.
            loss: Not taken: the losses are those of `compute_task_losses`.
            loss_weights: Not taken.
            weighting: What `keras_mtl.weightings.get` takes.
            tasks: List of the names of the tasks, in their order. By default
                `compute_task_losses` is traced for them, with tensors like the
                first batch.

        Raises:
            ValueError: If the class does not override `compute_task_losses`,
                there is a `loss`, or the weighting is not known.
        """
        self._check_has_losses(loss=loss, loss_weights=loss_weights)
        weighting = weightings.get(weighting)
        super().compile(
            optimizer=optimizer,
            metrics=metrics,
            weighted_metrics=weighted_metrics,
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
            auto_scale_loss=auto_scale_loss,
        )
        with DotNotTrackScope():
            self._add_to_compile_config(
                metrics=metrics,
                weighted_metrics=weighted_metrics,
                jit_compile=jit_compile,
                auto_scale_loss=auto_scale_loss,
            )
            self.tasks = self._task_losses = None
        self._choose(weighting)
        if tasks is not None:
            self._begin_tasks(tasks)

    def _check_has_losses(self, **arguments):
        if not self._overrides("compute_task_losses"):
            raise ValueError(
                "Expected a subclass of `MultiLossModel` with a method "
                "`compute_task_losses(self, x, y, y_pred, sample_weight=None, "
                "training=True)` that returns a dict of task to scalar loss. "
                f"Received: {type(self).__name__}, which has none"
            )
        for name, value in arguments.items():
            if value is not None:
                raise ValueError(
                    f"Expected no `{name}`, since `compute_task_losses` makes "
                    f"the losses. Received: {name}={value!r}"
                )

    def _choose(self, weighting):
        """Sets a weighting, or keeps it until the tasks are known."""
        # A function, since Keras tracks and saves each attribute that is a
        # layer.
        self._chosen = lambda: weighting
        if self.tasks is not None:
            with replicas.scope(self):
                self._set_weighting(weighting)

    def _begin_tasks(self, tasks):
        """Makes what needs the names of the tasks."""
        check_are_several(tasks)
        self._set_task_losses(OwnLosses(tasks))
        self._choose(self._chosen())

    def get_compile_config(self) -> dict[str, Any]:
        if not self.compiled:
            return {}
        config = self._compile_config.config
        tasks = None if self.tasks is None else list(self.tasks)
        return {
            **compile_config.serialized(config, self._chosen()),
            "tasks": tasks,
        }

    def get_config(self) -> dict[str, Any]:
        return super().get_config()

    # Keras makes a configuration of the constructor's arguments where a class
    # has no `get_config` of its own.
    get_config._is_default = True  # type: ignore[attr-defined]

    def _check_weighting(self, weighting, tasks):
        split = super()._check_weighting(weighting, tasks)
        self._loss_split = None
        if split is None:
            self._loss_split = LossSplit(tasks, self.trainable_variables)
        return split

    def _make_split(self, tasks, weighting):
        measurement = weighting.measurement
        return LossSplit(
            tasks,
            self.trainable_variables,
            self._variables_of_layers(measurement.shared),
            keeps_rows=(
                measurement.update_every == 1 and not weighting.perturbs
            ),
        )

    def _variables_of_layers(self, shared):
        """Returns the variables of layers that a weighting names, or `None`."""
        if isinstance(shared, str):
            return None
        layers = {layer.name: layer for layer in self._flatten_layers(False)}
        unknown = [name for name in shared if name not in layers]
        if unknown:
            raise ValueError(
                "`shared` names layers that the model does not have: "
                f"{unknown}. Known: {sorted(layers)}. Received: "
                f"shared={shared}"
            )
        return [v for name in shared for v in layers[name].trainable_variables]

    def _overrides(self, name):
        """Whether the class of the model overrides a method of this one."""
        return getattr(type(self), name) is not getattr(MultiLossModel, name)

    # Training

    def compute_task_losses(
        self,
        x: Any,
        y: Any,
        y_pred: Any,
        sample_weight: Any = None,
        training: bool = True,
    ) -> dict[str, Any]:
        """Computes the loss of each task; a subclass overrides it.

        It is to a dict of losses what `keras.Model.compute_loss` is to their
        sum. It may call the model or its layers again.

        Args:
            x: Inputs of the batch.
            y: Labels, as they were given to `fit`, or `None`.
            y_pred: What `call` returned.
            sample_weight: As it was given to `fit`, or `None`.
            training: Whether it is a training step.

        Returns:
            Dict of task to scalar tensor, of the same tasks in each step.
        """
        raise NotImplementedError

    def _losses_of(
        self, x, y, y_pred, sample_weight, training=True, record=True
    ):
        """Returns a list of the task losses of a batch."""
        # On PyTorch, Keras hands arrays of one batch on as they are.
        x, y, sample_weight = keras.tree.map_structure(
            _as_tensor, (x, y, sample_weight)
        )
        losses = self.compute_task_losses(
            x, y, y_pred, sample_weight=sample_weight, training=training
        )
        losses = self._task_losses.checked(losses, record)
        to_sort = self._running.losses_to_sort
        if training and record and to_sort is not None:
            to_sort[:] = losses
        return losses

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

        Args:
            x: As of `keras.Model.fit`, as are all arguments that are not listed
                here.
            weighting: A weighting, as of `compile`, that replaces the present
                one. The optimizer keeps its state. By default the present
                weighting continues.
            validation_for_weighting: Data from which a weighting with two
                levels, such as `"auto_lambda"`, learns the weights, as
                `validation_data`: `(x, y)` or `(x, y, sample_weight)` of
                arrays, shuffled, or a data set. Each step takes one batch of
                them, again and again.

        Returns:
            A `keras.callbacks.History`, as of `MultiTaskModel.fit`.
        """
        arguments = fit_arguments.of_keras(locals())
        self._assert_compile_called("fit")
        fit_arguments.check_no_weighting(arguments)
        if isinstance(x, TaskSampler):
            raise ValueError(
                "Expected data of all tasks: a `TaskSampler` goes with a "
                f"`MultiTaskModel`. Received: {x} for {type(self).__name__}"
            )
        check_files(callbacks)
        if weighting is not None:
            self._choose(weightings.get(weighting))
        hooks = EpochHooks(self, x)
        arguments["callbacks"] = hooks.put_first(callbacks)
        arguments = fit_arguments.with_pairs(
            self, arguments, validation_for_weighting
        )
        hooks.set_data(arguments["x"])
        with self._running.in_fit():
            return super().fit(**arguments)

    def _symbolic_build(self, iterator=None, data_batch=None):
        if self._looks_for_tasks() and data_batch is None:
            iterator, data_batch = None, _first_batch(iterator)
        super()._symbolic_build(iterator, data_batch)
        if self._looks_for_tasks():
            self._find_tasks(data_batch)

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        # TensorFlow builds a model where its steps are traced, and weightings
        # are told of an epoch before.
        super()._maybe_symbolic_build(iterator, data_batch)
        if self._looks_for_tasks():
            if data_batch is None:
                data_batch = _first_batch(iterator)
            self._find_tasks(data_batch)

    def _needs_validation(self):
        # The weighting is set once the tasks are known.
        return self._chosen().needs_validation

    def _looks_for_tasks(self):
        return self.compiled and self.tasks is None

    def _find_tasks(self, data_batch):
        """Traces the losses of a batch for the names of the tasks."""
        batch = keras.tree.map_structure(_symbolic, data_batch)
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        found = []

        def losses_of(x, y, sample_weight):
            losses = by_task(
                self.compute_task_losses(
                    x, y, self(x), sample_weight=sample_weight, training=False
                )
            )
            for task, loss in losses.items():
                check_is_scalar(task, loss)
            found[:] = list(losses)
            return list(losses.values())

        try:
            compute_output_spec(losses_of, x, y, sample_weight)
        except Exception as error:
            raise ValueError(
                "Expected a `compute_task_losses` that can be traced for the "
                "names of its tasks. If it only fails so, type "
                "`model.compile(..., tasks=[...])` with these names. Received: "
                f"{error}"
            ) from error
        self._begin_tasks(found)


def _first_batch(iterator):
    return batch_to_train_on(first_batch_of_epoch(iterator))


def _as_tensor(value):
    return as_tensors(value) if isinstance(value, np.ndarray) else value


def _symbolic(array):
    if array is None:
        return None
    dtype = keras.backend.standardize_dtype(array.dtype)
    return keras.KerasTensor(tuple(array.shape), dtype)
