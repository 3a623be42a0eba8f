"""The Gramian of the task gradients on a batch, outside of the training."""

import keras
import numpy as np
from keras import ops

from keras_mtl.backend import jacobian
from keras_mtl.backend.keras_internals import call_scope
from keras_mtl.losses import missing_labels as labels
from keras_mtl.training import balancing
from keras_mtl.weightings.weighting import GradientWeighting


class TaskGramian:
    """Computes the Gramian of the task gradients of a model, on batches.

    They are those that a gradient balancing would see in a training step on
    the batch. All happens in a `StatelessScope`, so that no variable of the
    model changes, be it statistics, seeds or metrics.

    Args:
        model: Compiled `MultiTaskModel`.
        gradients: As of `GradientWeighting`.
        shared: As of `GradientWeighting`.
        compiled: Whether to compile, as the model compiles its steps: for more
            than a few calls.

    Raises:
        ValueError: If the arguments are not valid, or nothing is shared.
    """

    def __init__(
        self, model, gradients="parameters", shared="auto", compiled=True
    ):
        weighting = GradientWeighting(gradients, shared)
        self.model = model
        self.split = model._check_weighting(weighting, list(model.tasks))
        self.measured = balancing.measured_variables(self.split, weighting)
        self._variables = (
            model.trainable_variables + model.non_trainable_variables
        )
        features = gradients == "features"
        self._blocks = self._of_features if features else self._of_parameters
        self._function = self._gramian
        if compiled:
            self._function = jacobian.compiled(self._gramian, model)

    def __call__(self, x, y, sample_weight=None):
        """Returns the Gramian on a batch, a NumPy array of shape `(T, T)`."""
        with jacobian.random_state_kept():
            gramian = self._function(
                jacobian.values_of(self.model, self._variables),
                # Or small gradients would vanish in half precision.
                self.model.optimizer.scale_loss(ops.ones(())),
                *[_as_tensors(data) for data in (x, y, sample_weight)],
            )
        return ops.convert_to_numpy(gramian)

    def _gramian(self, values, loss_scale, x, y, sample_weight):
        inputs = self.model.flat_inputs(x)

        def losses(trunk, copies):
            y_pred = self.split.run_heads(trunk, copies, True)
            return [
                loss * loss_scale
                for loss in self.model.compute_task_losses(
                    y, y_pred, sample_weight, training=False
                )
            ]

        variables = keras.StatelessScope(
            zip(self._variables, values), collect_losses=True
        )
        with variables, call_scope(self.model, training=True):
            blocks = self._blocks(inputs, losses)
            num_tasks = len(self.split.tasks)
            parts = [
                balancing.Block(rows).gramian(num_tasks) for rows in blocks
            ]
            return sum(parts) / loss_scale / loss_scale

    def _of_parameters(self, inputs, losses):
        """Returns, for each shared variable, the tasks' gradients."""

        def function(values):
            for variable, value in zip(self.measured, values):
                variable.assign(value)
            return losses(self.split.run_trunk(inputs, True), {})

        values = [variable.value for variable in self.measured]
        return zip(*jacobian.jacobian(function, values))

    def _of_features(self, inputs, losses):
        """Returns, for each boundary tensor, the tasks' gradients."""
        trunk = self.split.run_trunk(inputs, True)
        boundary = self.split.boundary
        names = [(key, task) for key in boundary for task in boundary[key]]

        def function(tensors):
            copies = {
                name: labels.with_mask_of(trunk[name[0]], tensor)
                for name, tensor in zip(names, tensors)
            }
            # No copy belongs to two tasks: one sum has the gradients of all.
            return [sum(losses(trunk, copies))]

        tensors = [ops.stop_gradient(trunk[key]) for key, _ in names]
        (row,) = jacobian.jacobian(function, tensors)
        rows = dict(zip(names, row))
        tasks = self.split.tasks
        return [[rows.get((key, task)) for task in tasks] for key in boundary]


def cosines(gramian):
    """Returns the cosines of the angles between gradients.

    Args:
        gramian: Array of shape `(..., T, T)`, their inner products.

    Returns:
        Float64 array of that shape, NaN where a gradient is zero.

    Example:

    >>> cosines([[4.0, -3.0], [-3.0, 9.0]])
    [[1.0, -0.5], [-0.5, 1.0]]
    """
    gramian = np.asarray(gramian, "float64")
    norms = np.sqrt(np.diagonal(gramian, axis1=-2, axis2=-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = gramian / norms[..., :, None] / norms[..., None, :]
    return np.clip(ratios, -1.0, 1.0)


def _as_tensors(data):
    """Converts arrays as `fit` does, floating-point ones to Keras's type."""

    def as_tensor(array):
        if array is None:
            return None
        dtype = keras.backend.standardize_dtype(
            getattr(array, "dtype", np.asarray(array).dtype)
        )
        is_float = "float" in dtype
        return ops.convert_to_tensor(
            array, keras.config.floatx() if is_float else None
        )

    return keras.tree.map_structure(as_tensor, data)
