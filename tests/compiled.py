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
    function = {"tensorflow": _tensorflow_call, "jax": _jax_call}[backend]

    def call(*args):
        if not weighting.built:
            weighting.build(args[0].shape)
        return function(weighting, *args)

    return call


def _jax_call(weighting, *args):
    state = [v.value for v in weighting.variables]
    weights, state = _jax_function(weighting)(state, *args)
    for variable, value in zip(weighting.variables, state):
        variable.assign(value)
    return np.asarray(weights)


def _tensorflow_call(weighting, *args):
    import tensorflow as tf

    twin, function = _tensorflow_function(weighting)
    pairs = list(zip(weighting.variables, twin.variables, strict=True))
    if twin is not weighting:
        for variable, other in pairs:
            other.assign(variable)
    weights = function(*map(tf.constant, args))
    if twin is not weighting:
        for variable, other in pairs:
            variable.assign(other)
    return np.asarray(weights)


def _tensorflow_function(weighting):
    """Returns a weighting of the same configuration and its compiled call."""
    import tensorflow as tf

    # TF-Agents has variables of its own, which belong to one weighting.
    key = weighting if weighting.untracked_variables() else _key(weighting)
    if key not in _compiled:
        twin = weighting
        if key is not weighting:
            twin = type(weighting).from_config(weighting.get_config())
            twin.build((weighting.num_tasks,))
        _compiled[key] = twin, tf.function(twin, jit_compile=True)
    return _compiled[key]


def eager_call(weighting, *args):
    """Calls a weighting of which nothing is compiled as a whole."""
    if keras.backend.backend() != "jax":
        return keras.ops.convert_to_numpy(weighting(*args))
    import jax

    # Otherwise JAX compiles the bodies of its loops.
    with jax.disable_jit():
        return np.asarray(weighting(*args))


def _key(weighting):
    config = keras.saving.serialize_keras_object(weighting)
    config["config"].pop("name")
    return json.dumps([config, weighting.num_tasks], sort_keys=True)


def _jax_function(weighting):
    import jax

    key = _key(weighting)
    if key not in _compiled:
        _compiled[key] = jax.jit(
            lambda state, *args: weighting.stateless_call([], state, *args)
        )
    return _compiled[key]
