"""Many calls of a weighting, in the way that is quickest on each backend."""

import keras
import numpy as np

from tests.compiled import compiled_call


def weights_of_steps(weighting, *steps):
    """Calls `weighting` once per step.

    Args:
        weighting: `Weighting`.
        *steps: Arrays of shapes `(steps, T)`, the losses, and, for gradient
            balancing, `(steps, T, T)`, the Gramians.

    Returns:
        Array of shape `(steps, T)`.
    """
    call = _caller(weighting)
    steps = [np.asarray(array, "float32") for array in steps]
    return np.stack([call(*args) for args in zip(*steps)])


def _caller(weighting):
    if keras.backend.backend() != "tensorflow":
        return compiled_call(weighting)
    import tensorflow as tf

    # XLA takes longer to compile than it saves.
    function = tf.function(weighting)
    return lambda *args: np.asarray(function(*map(tf.constant, args)))
