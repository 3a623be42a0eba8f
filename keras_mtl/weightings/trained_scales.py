"""The base class of the methods that train one scale per task."""

from typing import Any

import keras
from keras import ops

from keras_mtl.backend import checks
from keras_mtl.backend.numerics import Tensor
from keras_mtl.weightings.own_optimizer import OwnOptimizer
from keras_mtl.weightings.weighting import Weighting

# The gradient is about 1, and the loss over its usual value where a batch has
# a loss that is much larger.
MAX_GRADIENT = 10.0


class TrainedScales(Weighting):
    """Base class of the methods that train one scale per task with Adam.

    Args:
        learning_rate: Learning rate of the scales, or `None` for that of the
            model at each step (0.001 without a model).
        **kwargs: See `Weighting`.
    """

    def __init__(
        self, learning_rate: float | None = 0.025, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.learning_rate = checks.positive(
            "learning_rate", learning_rate, optional=True
        )

    @classmethod
    def from_config(cls, config: dict) -> "TrainedScales":
        # Files of versions in which the model's rate was the default.
        return super().from_config({"learning_rate": None, **config})

    @property
    def needs_learning_rate(self) -> bool:
        return self.learning_rate is None

    def make_optimizer(
        self, scales: keras.Variable, max_growth: float | None = None
    ) -> None:
        """Makes the optimizer of the scales.

        Args:
            scales: Variable of shape `(T,)`.
            max_growth: As of `OwnOptimizer`, for gradients in the unit of the
                losses; by default they are about 1.
        """
        adam = keras.optimizers.Adam(float(self.learning_rate or 1e-3))
        most = MAX_GRADIENT if max_growth is None else None
        self.optimizer = OwnOptimizer(adam, scales, most, max_growth)
        self.optimizer_state = self.optimizer.variables

    def descend_where(self, labelled: Tensor, gradient: Tensor) -> None:
        """Takes a step for the tasks that have a label.

        Args:
            labelled: Boolean tensor of shape `(T,)`.
            gradient: Float tensor of shape `(T,)`, of the scales.
        """
        if self.needs_learning_rate:
            self.optimizer.set_learning_rate(ops.copy(self.model_learning_rate))
        self.optimizer.descend_where(labelled, gradient)

    def load_own_variables(self, store: Any) -> None:
        values = [store[str(i)] for i in range(len(store.keys()))]
        state = self._own_state()
        if not self.needs_learning_rate and len(values) == len(state) + 1:
            # A file of weights of a training at the model's rate, which is its
            # second variable.
            del values[1]
        super().load_own_variables({str(i): v for i, v in enumerate(values)})
        if not self.needs_learning_rate:
            self.optimizer.set_learning_rate(self.learning_rate)
