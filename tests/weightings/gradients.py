"""Directions of gradient-balancing methods, for given gradients."""

import keras
import numpy as np
from keras import ops

from tests.compiled import compiled_call


def weights_of(weighting, jacobian, losses=None):
    """The weights in float64, from the float32 Gramian of `jacobian`."""
    losses = np.ones(len(jacobian)) if losses is None else losses
    jacobian = np.asarray(jacobian, "float64")
    gramian = (jacobian @ jacobian.T).astype("float32")
    arguments = [np.asarray(losses, "float32"), gramian]
    if keras.backend.backend() == "jax":
        # Not compiled, JAX compiles each loop of each call anew.
        weights = compiled_call(weighting)(*arguments)
    else:
        weights = ops.convert_to_numpy(weighting(*arguments))
    return weights.astype("float64")


def direction_of(weighting, jacobian, losses=None):
    return weights_of(weighting, jacobian, losses) @ jacobian


def cosines(jacobian, direction):
    norms = np.linalg.norm(jacobian, axis=1) * np.linalg.norm(direction)
    return jacobian @ direction / norms


def steps(num_tasks=5, size=12, count=20):
    """Random gradients of `count` steps of training."""
    rng = np.random.default_rng(0)
    scales = rng.uniform(0.2, 5.0, (count, num_tasks, 1))
    jacobians = scales * rng.normal(size=(count, num_tasks, size))
    # What float32 holds: else another problem is solved.
    return jacobians.astype("float32").astype("float64")
