"""The losses near the parameters where a step writes to variables."""

import contextlib

from keras import ops

from keras_mtl.backend.snapshot import values_of
from keras_mtl.training import step_state
from keras_mtl.training.step_loss import losses_of_pass
from keras_mtl.training.surroundings import Surroundings
from keras_mtl.training.surroundings import weighted_sum


class VariablesSurroundings(Surroundings):
    """The losses of a batch near the parameters, on TensorFlow and PyTorch.

    It is made before the forward pass of the step.

    Args:
        model: The model.
        batch: `(x, y)` or `(x, y, sample_weight)`.
        scale: Scalar, the loss scale.
    """

    def __init__(self, model, batch, scale):
        self._model = model
        self._batch = batch
        self._scale = scale
        self._state = step_state.network_state(model)
        self._before = values_of(self._state)
        self._same_numbers = model._same_numbers()

    def losses(self, variables, changes, training=True):
        with self._model._unrecorded():
            values = _moved(variables, changes)
            return self._losses_at(variables, values, training)

    def gradients(self, weights, variables, changes):
        model = self._model
        with model._recorded() as record_of_pass:
            values = [
                model._cut(x, record_of_pass)
                for x in _moved(variables, changes)
            ]
            losses = self._losses_at(variables, values, training=True)
            target = self._scale * weighted_sum(losses, weights)
        return model._gradients_at(target, values, record_of_pass)

    def _losses_at(self, variables, values, training):
        with self._with_values(variables, values):
            return losses_of_pass(self._model, self._batch, training)

    @contextlib.contextmanager
    def _with_values(self, variables, values):
        variables = [*self._state, *variables]
        values = [*self._before, *values]
        with step_state.unchanged(self._model, variables, values):
            with self._same_numbers():
                yield


def _moved(variables, changes):
    """Returns the values of variables after changes, `None` for nothing."""
    return [
        ops.copy(v) if x is None else v + ops.cast(x, v.dtype)
        for v, x in zip(variables, changes)
    ]
