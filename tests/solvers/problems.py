"""Gramians of easy and hard gradients, and solvers compiled once."""

import functools

import keras
import numpy as np
from keras import ops


def normal(num_tasks, size, seed=0):
    return np.random.default_rng(seed).normal(size=(num_tasks, size))


def nearly_opposite(j):
    half = len(j) // 2
    noise = 0.2 * normal(*j.shape, seed=1)
    return np.concatenate([j[:half], noise[half:] - j[: len(j) - half]])


# What a gradient method meets; all have full rank.
KINDS = {
    "wide": lambda tasks: normal(tasks, 10 * tasks),
    "square": lambda tasks: normal(tasks, tasks),
    "agreeing": lambda tasks: normal(tasks, 2 * tasks) + 1.0,
    "nearly opposite": lambda tasks: nearly_opposite(normal(tasks, 3 * tasks)),
    "scales": lambda tasks: (
        normal(tasks, 2 * tasks) * np.logspace(-2, 2, tasks)[:, None]
    ),
}

# The Gramians of these have no inverse, or zeros.
SINGULAR = {
    "all zero": lambda j: 0 * j,
    "one zero": lambda j: j * (np.arange(len(j)) > 0)[:, None],
    "duplicated": lambda j: j[[0] * len(j)],
    "opposite": lambda j: np.concatenate([j[:1], -j[:-1]]),
    "rank one": lambda j: j[:1] * np.arange(-2.0, len(j) - 2)[:, None],
    "rank two": lambda j: j[:, :2] @ j[:2],
    "zero sum": lambda j: j - j.mean(axis=0),
}


def gramian_of(gradients):
    gradients = np.asarray(gradients, "float64")
    return (gradients @ gradients.T).astype("float32")


def as_float32(gradients):
    """Gradients whose Gramian in float32 is exactly that of these numbers.

    Else the comparison is with the solution of another problem.
    """
    return np.asarray(gradients, "float32").astype("float64")


@functools.cache
def compiled(function, **arguments):
    """`function` with the keyword arguments, compiled but on torch."""
    function = functools.partial(function, **arguments)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=False)
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    return function


def compiled_with_xla(function):
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=True)
    return compiled(function)


def solve(function, *args, **arguments):
    """The solution in float64, by the compiled function."""
    args = [ops.convert_to_tensor(arg, dtype="float32") for arg in args]
    solution = compiled(function, **arguments)(*args)
    solution = ops.convert_to_numpy(solution)
    assert solution.dtype == "float32"
    return solution.astype("float64")
