import jax

from keras_mtl.training.step_loss import losses_of_pass
from keras_mtl.training.surroundings import Surroundings
from keras_mtl.training.surroundings import weighted_sum


class JaxSurroundings(Surroundings):
    """The losses of a batch near the parameters, on JAX.

    Args:
        model: The model.
        state: `State` before the step.
        batch: `(x, y)` or `(x, y, sample_weight)`.
        scale: Scalar, the loss scale.
    """

    def __init__(self, model, state, batch, scale):
        self._model = model
        self._state = state
        self._batch = batch
        self._scale = scale
        variables = model.trainable_variables
        self._places = {id(v): i for i, v in enumerate(variables)}

    def losses(self, variables, changes, training=True):
        return self._losses_at(
            variables, self._moved(variables, changes), training
        )

    def gradients(self, weights, variables, changes):
        def target(values):
            losses = self._losses_at(variables, values, training=True)
            return self._scale * weighted_sum(losses, weights)

        return jax.grad(target)(self._moved(variables, changes))

    def _moved(self, variables, changes):
        """Returns the values of variables after changes, `None` for nothing."""
        values = [self._state.trainable[self._places[id(v)]] for v in variables]
        return [
            value if x is None else value + x.astype(value.dtype)
            for value, x in zip(values, changes)
        ]

    def _losses_at(self, variables, values, training):
        trainable = list(self._state.trainable)
        for v, value in zip(variables, values):
            trainable[self._places[id(v)]] = value
        state = self._state._replace(trainable=trainable)
        with self._model._scope(state, "trainable", "others"):
            return losses_of_pass(self._model, self._batch, training)
