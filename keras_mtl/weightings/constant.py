import math
import numbers

import keras
from keras import ops

from keras_mtl.weightings.weighting import Weighting


@keras.saving.register_keras_serializable(package="keras_mtl")
class Constant(Weighting):
    """Weights that do not change, found by hand or by a search.

    They act where those of the other methods do, so that the history's `loss`
    compares with other methods'; `loss_weights` of `compile` change the losses
    that a method sees.

    Args:
        values: List of `T` floats, the weights in the order of the tasks, or
            `None`: 1 each, as `Equal`.

    Example:

    >>> constant = keras_mtl.weightings.Constant([1.0, 0.25])
    >>> constant(np.array([0.5, 2.0]))
    [1.0, 0.25]
    """

    paper = "Constant weights"

    def __init__(self, values=None, **kwargs):
        super().__init__(**kwargs)
        if values is not None:
            values = self._checked(values)
        self.values = values

    def build_state(self, num_tasks):
        if self.values is not None and len(self.values) != num_tasks:
            raise ValueError(
                f"Expected `values` to have one weight for each of {num_tasks} "
                f"tasks. Received: values={self.values}"
            )

    def compute_weights(self, losses):
        if self.values is None:
            return ops.ones_like(losses)
        return ops.convert_to_tensor(list(self.values), "float32")

    @staticmethod
    def _checked(values):
        # A weighting does not know the names of the tasks.
        is_list = not isinstance(values, (dict, str, numbers.Real))
        if is_list and all(math.isfinite(value) for value in values):
            return [float(value) for value in values]
        raise ValueError(
            "Expected `values` to be a list of finite numbers, one weight per "
            f"task in the order of the tasks. Received: values={values}"
        )
