"""The primitives on JAX."""

import contextlib

import jax
import numpy as np
from jax import numpy as jnp
from keras import ops

from keras_mtl.backend import one_replica as replicas  # noqa: F401
from keras_mtl.backend.keras_internals import stateless_scope


def gradient(function, tensors):
    return jax.grad(function)(tensors)


def compile_pure(function):
    # Outside of `jax.jit`, a loop would be compiled at each call.
    return jax.jit(function)


def compile_reader(function):
    # The function is part of what is compiled around it: compiled alone, it
    # would keep the variables' values of the first call.
    return function


def without_autograph(function):
    return function


def entries(vector):
    is_traced = isinstance(vector, jax.core.Tracer)
    if not is_traced or jax.default_backend() != "cpu":
        return ops.unstack(vector)
    # On a CPU, XLA compiles a kernel once for all that are equal. It would copy
    # a slice into the kernels that use it, each of which would be another one
    # then: compiling heads of 11 tasks took twice as long. It copies no sum.
    places = np.eye(vector.shape[0], dtype=bool)
    return [jnp.sum(jnp.where(place, vector, 0)) for place in places]


def solve_positive(matrix, right):
    return ops.solve(matrix, right)


def float32_product(left, right):
    return jax.numpy.matmul(left, right, precision="highest")


def get_random_state():
    # All random numbers of Keras's layers come from seeds in variables.
    return {}


def set_random_state(states):
    del states


@contextlib.contextmanager
def variables_read(variables):
    ids, found = set(map(id, variables)), set()
    scope = stateless_scope()
    get_current_value = scope.get_current_value

    def noted(variable):
        if id(variable) in ids:
            found.add(id(variable))
        return get_current_value(variable)

    scope.get_current_value = noted
    try:
        yield found
    finally:
        del scope.get_current_value
