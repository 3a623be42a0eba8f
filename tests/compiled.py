"""Compiled calls of a weighting on each backend."""

import json

import keras
import numpy as np

_compiled = {}


def compiled_call(weighting):
    """Returns a function like `weighting`, compiled (with XLA but on torch).

    Weightings of one configuration share what was compiled: compiling takes
    most of the time.
    """
    backend = keras.backend.backend()
    if backend == "torch":
        return lambda *args: keras.ops.convert_to_numpy(weighting(*args))
    if backend == "tensorflow":
        import tensorflow as tf

        function = tf.function(weighting, jit_compile=True)
        return lambda *args: np.asarray(function(*map(tf.constant, args)))

    def call(*args):
        if not weighting.built:
            weighting.build(args[0].shape)
        state = [v.value for v in weighting.variables]
        weights, state = _jax_function(weighting)(state, *args)
        for variable, value in zip(weighting.variables, state):
            variable.assign(value)
        return np.asarray(weights)

    return call


def eager_call(weighting, *args):
    """Calls a weighting of which nothing is compiled as a whole."""
    if keras.backend.backend() != "jax":
        return keras.ops.convert_to_numpy(weighting(*args))
    import jax

    # Otherwise JAX compiles the bodies of its loops.
    with jax.disable_jit():
        return np.asarray(weighting(*args))


def _jax_function(weighting):
    import jax

    config = keras.saving.serialize_keras_object(weighting)
    config["config"].pop("name")
    key = json.dumps([config, weighting.num_tasks], sort_keys=True)
    if key not in _compiled:
        _compiled[key] = jax.jit(
            lambda state, *args: weighting.stateless_call([], state, *args)
        )
    return _compiled[key]
