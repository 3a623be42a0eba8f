import keras
import numpy as np
from numpy.typing import ArrayLike

from keras_mtl.selection.policy import Policy
from keras_mtl.selection.registry import POLICIES
from keras_mtl.selection.registry import is_vector


@POLICIES.convert(is_vector)
@keras.saving.register_keras_serializable(package="keras_mtl")
class Fixed(Policy):
    """Policy with given probabilities.

    Example:

    >>> policy = keras_mtl.selection.Fixed([0.2, 0.3, 0.5])
    >>> task, propensity = policy.sample(np.random.default_rng(0))
    >>> task, propensity
    (2, 0.5)

    Args:
        probabilities: The probability of each task, shape `(T,)`. Sums that
            differ from 1 by no more than 0.01, as those of rounded numbers, are
            made 1.

    Raises:
        ValueError: If these are not probabilities.
    """

    def __init__(self, probabilities: ArrayLike):
        values = np.array(probabilities, "float64")
        if (
            values.ndim != 1
            or not values.size
            or not np.all(values >= 0)
            or not abs(values.sum() - 1) <= 0.01
        ):
            raise ValueError(
                "Expected `probabilities` of shape (T,) that are not negative "
                f"and sum to 1. Received: probabilities={probabilities}"
            )
        self.num_tasks = len(values)
        self._probabilities = values / values.sum()

    @property
    def probabilities(self) -> np.ndarray:
        return self._probabilities.copy()

    def __repr__(self) -> str:
        return f"Fixed({[round(float(p), 4) for p in self._probabilities]})"
