"""The primitives on JAX."""

import jax

from keras_mtl.backend import one_replica as replicas  # noqa: F401


def gradient(function, tensors):
    return jax.grad(function)(tensors)


def compile_pure(function):
    # Outside of `jax.jit`, a loop would be compiled at each call.
    return jax.jit(function)


def compile_reader(function):
    # The function is part of what is compiled around it: compiled alone, it
    # would keep the variables' values of the first call.
    return function


def get_random_state():
    # All random numbers of Keras's layers come from seeds in variables.
    return {}


def set_random_state(states):
    del states
