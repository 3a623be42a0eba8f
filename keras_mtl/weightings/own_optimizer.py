"""A step of an optimizer that belongs to a weighting."""

import keras
from keras import ops

from keras_mtl.backend.keras_internals import scale_loss_for_distribution
from keras_mtl.backend.numerics import TINY
from keras_mtl.backend.numerics import Tensor
from keras_mtl.backend.snapshot import Snapshot


class OwnOptimizer:
    """The optimizer of one variable of a weighting.

    The model's optimizer keeps its variables when the weighting changes, so a
    weighting brings its own. Keras does not track an optimizer in a layer: the
    weighting sets `variables` as an attribute, which saves them.

    Args:
        optimizer: Optimizer of Keras, not built.
        variable: The variable that it trains, of shape `(T,)`.
        max_gradient: Largest entry of a gradient. Adam's moments would remember
            one that is larger by far for thousands of steps, in which the
            variable hardly moves. `None` is for gradients of any unit.
        max_growth: Largest entry of a gradient, in units of what Adam's second
            moment says is usual.
    """

    def __init__(
        self,
        optimizer: keras.Optimizer,
        variable: keras.Variable,
        max_gradient: float | None = None,
        max_growth: float | None = None,
    ) -> None:
        optimizer.build([variable])
        self._max_gradient = max_gradient
        self._max_growth = max_growth
        self._optimizer = optimizer
        self._variable = variable

    @property
    def variables(self) -> list:
        """The optimizer's state, with the learning rate."""
        return self._optimizer.variables

    def set_learning_rate(self, rate: Tensor) -> None:
        """Sets the learning rate of the next steps."""
        self._optimizer.learning_rate = rate

    def descend(self, gradient: Tensor) -> None:
        """Takes a step.

        Args:
            gradient: Float tensor of shape `(T,)`, the same on all replicas.
        """
        if self._max_gradient is not None:
            bound = self._max_gradient
            gradient = ops.clip(gradient, -bound, bound)
        if self._max_growth is not None:
            bound = self._max_growth * self._usual_gradient()
            known = bound > 0
            bound = ops.where(known, bound, ops.abs(gradient))
            gradient = ops.clip(gradient, -bound, bound)
        # The optimizer adds up the gradients of all replicas.
        gradient = scale_loss_for_distribution(gradient)
        self._optimizer.apply([gradient], [self._variable])

    def _usual_gradient(self):
        """Returns the root of Adam's second moment, without its bias."""
        [velocity] = [v for v in self.variables if "velocity" in v.path]
        steps = ops.cast(self._optimizer.iterations, "float32")
        mass = 1.0 - self._optimizer.beta_2**steps
        return ops.sqrt(velocity / ops.maximum(mass, TINY))

    def descend_where(self, labelled: Tensor, gradient: Tensor) -> None:
        """Takes a step for some of the tasks.

        A gradient of 0 would not do: Adam's moments move a variable then, too.

        Args:
            labelled: Boolean tensor of shape `(T,)`, the tasks that take part.
            gradient: Float tensor of shape `(T,)`, the same on all replicas.
        """
        shape = tuple(self._variable.shape)
        per_task = [
            v
            for v in [self._variable, *self.variables]
            if tuple(v.shape) == shape
        ]
        before = Snapshot(per_task)
        self.descend(gradient)
        before.restore(where=ops.logical_not(labelled))
