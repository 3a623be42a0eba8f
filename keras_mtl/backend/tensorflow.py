"""The primitives on TensorFlow."""

import tensorflow as tf

from keras_mtl.backend import tensorflow_replicas as replicas  # noqa: F401


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
