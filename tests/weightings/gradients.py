"""Directions of gradient-balancing methods, for given gradients."""

import functools
import json

import keras
import numpy as np
from keras import ops

from tests.compiled import compiled_call


def weights_of(weighting, jacobian, losses=None):
    """The weights in float64, from the float32 Gramian of `jacobian`."""
    losses = np.ones(len(jacobian)) if losses is None else losses
    jacobian = np.asarray(jacobian, "float64")
    gramian = (jacobian @ jacobian.T).astype("float32")
    losses = np.asarray(losses, "float32")
    return _function(weighting)(losses, gramian).astype("float64")


def _function(weighting):
    if keras.backend.backend() == "jax":
        # Without this, JAX compiles each loop of each call anew.
        return compiled_call(weighting)
    if keras.backend.backend() == "tensorflow":
        config = keras.saving.serialize_keras_object(weighting)
        config["config"].pop("name")
        return _tensorflow_function(json.dumps(config, sort_keys=True))
    return lambda *args: ops.convert_to_numpy(weighting(*args))


@functools.cache
def _tensorflow_function(config):
    """A graph for each number of tasks, shared by equal configurations."""
    import tensorflow as tf

    weighting = keras.saving.deserialize_keras_object(json.loads(config))
    functions = {}

    def call(losses, gramian):
        if len(losses) not in functions:
            copy = type(weighting).from_config(weighting.get_config())
            copy.build(losses.shape)
            functions[len(losses)] = tf.function(copy, jit_compile=False)
        function = functions[len(losses)]
        return function(tf.constant(losses), tf.constant(gramian)).numpy()

    return call


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


def torch_weights(scalarizer, losses):
    """Returns the gradient of one of TorchJD's scalarizers."""
    import torch

    losses = torch.tensor(losses, dtype=torch.float32, requires_grad=True)
    scalarizer(losses).backward()
    return losses.grad.numpy()
