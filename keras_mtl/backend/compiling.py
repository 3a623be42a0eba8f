"""Compiles pure functions where the code around them may not be."""

import functools
import inspect

import keras
from keras import ops

from keras_mtl.backend.primitives import of_backend


def compiled(function):
    """Compiles a pure function of tensors, with XLA.

    On TensorFlow, whose training step is not compiled with XLA on a CPU, a loop
    of small operations takes ten times longer without. On JAX it is for calls
    outside of `jax.jit`, where a loop would be compiled at each call. On
    PyTorch the function stays as it is.

    Args:
        function: Function of tensors, lists or dicts of tensors, and Python
            numbers, strings and `None`, which are constants of what is
            compiled.

    Returns:
        A function with the same arguments, which may be called from compiled
        functions.
    """
    compile_pure = of_backend().compile_pure
    if compile_pure is None:
        return function
    signature = inspect.signature(function)
    versions = {}

    @functools.wraps(function)
    def call(*args, **kwargs):
        given = signature.bind(*args, **kwargs).arguments
        constants = {k: v for k, v in given.items() if _is_constant(v)}
        tensors = {
            name: keras.tree.map_structure(_as_tensor, value)
            for name, value in given.items()
            if name not in constants
        }
        key = tuple(constants.items())
        if key not in versions:
            versions[key] = compile_pure(
                lambda tensors: function(**tensors, **constants)
            )
        return versions[key](tensors)

    return call


def compiled_reader(function):
    """Compiles a function that reads variables, on TensorFlow alone.

    On JAX it is part of what is compiled around it: compiled alone it would
    keep the values of the first call.
    """
    return of_backend().compile_reader(function)


def entries(vector):
    """Returns the entries of a vector as a list of scalars.

    What each task computes with its entry is compiled once for all tasks that
    are alike, where the backend can tell that it is.
    """
    return of_backend().entries(vector)


def _is_constant(value):
    return value is None or isinstance(value, (bool, int, float, str))


def _as_tensor(value):
    # On TensorFlow a Keras variable would be converted to itself.
    if isinstance(value, keras.Variable):
        return ops.copy(value)
    return ops.convert_to_tensor(value)


def without_autograph(function):
    """Keeps AutoGraph from a function, which a `tf.function` may call.

    AutoGraph rewrites the code of what is called, unless it is told otherwise,
    and warns of what it cannot rewrite. There is nothing to rewrite here: the
    operations of Keras make their loops and branches themselves.
    """
    return of_backend().without_autograph(function)
