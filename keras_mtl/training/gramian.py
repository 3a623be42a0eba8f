"""The Gramian of the task gradients on a batch, outside of the training."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_mtl.training.measured_variables import warn_of_unseen_conflicts
from keras_mtl.training.task_gradients import TaskGradients
from keras_mtl.weightings.gradient_weighting import GradientWeighting


class TaskGramian:
    """Computes the Gramian of the task gradients of a model, on batches.

    They are those that a gradient balancing would see in a training step on
    the batch, from the forward pass of such a step. No variable of the model
    changes, be it statistics, seeds or metrics.

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
        self,
        model: keras.Model,
        gradients: str = "parameters",
        shared: Any = "auto",
        compiled: bool = True,
    ):
        self._weighting = GradientWeighting(gradients, shared)
        self._split = model._check_weighting(self._weighting, list(model.tasks))
        warn_of_unseen_conflicts(self._split, self._weighting)
        self._function = model._function_of_gradients(
            self._split, self._gramian, compiled
        )

    def __call__(self, x: Any, y: Any, sample_weight: Any = None) -> np.ndarray:
        """Returns the Gramian on a batch, a NumPy array of shape `(T, T)`."""
        batch = tuple(map(as_tensors, (x, y, sample_weight)))
        return ops.convert_to_numpy(self._function(batch))

    def _gramian(self, pullback, loss_scale):
        tasks = TaskGradients(
            self._split, self._weighting, pullback, loss_scale=loss_scale
        )
        return tasks.gramian(tasks.jacobian())


def cosines(gramian: Any) -> np.ndarray:
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


def as_tensors(data):
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
