"""The primitives on TensorFlow."""

import contextlib

import tensorflow as tf

from keras_mtl.backend import tensorflow_replicas as replicas  # noqa: F401
from keras_mtl.backend.keras_internals import raw_value


def gradient(function, tensors):
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(tensors)
        value = function(tensors)
    return tape.gradient(value, tensors)


def compile_pure(function):
    # TensorFlow's training step is not compiled with XLA on a CPU, where a loop
    # of small operations takes ten times longer without.
    return tf.function(function, jit_compile=True, autograph=False)


compile_reader = compile_pure


def get_random_state():
    # All random numbers of Keras's layers come from seeds in variables.
    return {}


def set_random_state(states):
    del states


@contextlib.contextmanager
def variables_read(variables):
    found = set()
    with tf.GradientTape() as tape:
        yield found
    # A replica of a strategy has a variable of its own, with the same handle.
    watched = {id(v.handle) for v in tape.watched_variables()}
    found.update(id(v) for v in variables if id(raw_value(v).handle) in watched)
