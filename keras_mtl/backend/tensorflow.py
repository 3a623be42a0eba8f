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

without_autograph = tf.autograph.experimental.do_not_convert

entries = tf.unstack


def solve_positive(matrix, right):
    """Eliminates column by column, as Gauss and Jordan did.

    XLA has no LAPACK on TensorFlow. The QR decomposition that it makes of
    `tf.linalg.solve` takes three to five times as long, and longer to compile.
    Without a choice of pivots this is stable for positive definite matrices
    (Higham, "Accuracy and Stability of Numerical Algorithms", section 14.4).
    """
    size = matrix.shape[-1]
    # Rounding may make a pivot of a nearly singular matrix zero.
    least = 1e-7 * tf.linalg.diag_part(matrix)

    def is_row(k):
        return (tf.range(size) == k)[:, None]

    def eliminate(k, rows):
        row, pivot = rows[:, k], rows[:, k, k]
        row = row / tf.where(pivot == 0.0, least[:, k], pivot)[:, None]
        rest = rows - rows[:, :, k, None] * row[:, None]
        return k + 1, tf.where(is_row(k), row[:, None], rest)

    _, rows = tf.while_loop(
        lambda k, rows: k < size,
        eliminate,
        (0, tf.concat([matrix, right], axis=-1)),
    )
    return rows[:, :, size:]


def float32_product(left, right):
    # Where a GPU is, the product of float64 is the one that TF32 never rounds.
    if tf.config.list_physical_devices("GPU"):
        left, right = tf.cast(left, "float64"), tf.cast(right, "float64")
    return tf.cast(tf.matmul(left, right), "float32")


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
