"""What weights do to the losses on validation data, one step ahead."""

from keras import ops

from keras_mtl.backend import replicas
from keras_mtl.backend.compiling import entries
from keras_mtl.backend.numerics import TINY
from keras_mtl.backend.numerics import norm_of_all
from keras_mtl.backend.numerics import scaled

# The length of the moves by which slopes are measured, that of the official
# code of Auto-Lambda.
LENGTH = 0.01


class LookAhead:
    """The slopes of losses on training data along gradients on validation data.

    One step of plain gradient descent leads to other parameters, a copy of the
    trainable variables. The gradient of a loss on validation data there, and
    the gradients of the task losses on training data here, have inner products
    that say how the weights of this step change that loss (but for the factor
    of minus the learning rate). They are measured by two forward passes, since
    an inner product is a slope.

    Args:
        variables: List of the trainable variables.
        training: `Surroundings` of the batch of training data.
        validation: `Surroundings` of the batch of validation data.
        scale: Scalar, by which the gradients of both are multiplied.

    Raises:
        ValueError: If there are several replicas.
    """

    def __init__(self, variables, training, validation, scale):
        if replicas.count() > 1:
            raise ValueError(
                "Expected one replica for weights that are learned on "
                f"validation data. Received: {replicas.count()} replicas"
            )
        self._variables = variables
        self._training = training
        self._validation = validation
        self._scale = scale

    def slopes(self, weights, objectives, rate):
        """Returns the inner products.

        Args:
            weights: Float tensor of shape `(T,)`, the weights of the step.
            objectives: List of lists of `T` numbers, `None` for 0: the weights
                of the losses on validation data in each objective.
            rate: Scalar, the length of the step ahead in units of the gradient.

        Returns:
            Float32 tensor of shape `(objectives, T)`.
        """
        nothing = [None] * len(self._variables)
        gradients = self._training.gradients(
            entries(weights), self._variables, nothing
        )
        factor = -rate / self._scale
        step = [scaled(g, factor) for g in gradients]
        return ops.stack([self._slopes_along(x, step) for x in objectives])

    def _slopes_along(self, objective, step):
        gradient = self._validation.gradients(objective, self._variables, step)
        norm = norm_of_all(gradient)
        factor = LENGTH / ops.maximum(norm, TINY)
        forth, back = (
            ops.stack(
                self._training.losses(
                    self._variables,
                    [_cast_and_scaled(g, s * factor) for g in gradient],
                )
            )
            for s in (1.0, -1.0)
        )
        return (forth - back) / (2 * LENGTH) * (norm / self._scale)


def _cast_and_scaled(gradient, factor):
    return None if gradient is None else ops.cast(gradient, "float32") * factor
