"""Layers in NumPy and float64, for an independent forward pass."""

import keras
import numpy as np
from keras import ops


def randomize(model, scale=0.5, seed=0):
    """Gives all variables random values, variances positive ones."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        value = rng.normal(scale=scale, size=variable.shape)
        if variable.name in ("moving_variance", "gamma"):
            value = 0.5 + np.abs(value)
        variable.assign(value)


def weights(model, name):
    return [np.float64(w) for w in model.get_layer(name).get_weights()]


def predict(model, inputs):
    if keras.backend.backend() == "jax":
        # It compiles the whole network once, not each operation.
        outputs = model.predict_on_batch(inputs)
    else:
        outputs = model(inputs, training=False)
    return {t: np.float64(ops.convert_to_numpy(y)) for t, y in outputs.items()}


def assert_close(actual, expected, rtol=1e-4, atol=1e-5):
    assert actual.keys() == expected.keys()
    for task in actual:
        np.testing.assert_allclose(
            actual[task], expected[task], rtol=rtol, atol=atol
        )


def saved_and_loaded(model, tmp_path):
    path = tmp_path / "model.keras"
    model.save(path)
    return keras.saving.load_model(path)


def gradient_of(function, x):
    """Returns the gradient of a scalar function of a tensor."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        x = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
        return tape.gradient(y, x)
    if keras.backend.backend() == "jax":
        import jax

        return jax.grad(function)(x)
    x = ops.convert_to_tensor(x).requires_grad_()
    function(x).backward()
    return x.grad


def relu(x):
    return np.maximum(x, 0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x, axis=-1):
    x = np.exp(x - x.max(axis=axis, keepdims=True))
    return x / x.sum(axis=axis, keepdims=True)


def convolve(x, kernel, bias):
    """A convolution with a margin of zeros, over one axis or two.

    Args:
        x: Of shape `(batch, ..., channels)`.
        kernel: Of shape `(..., channels, filters)`, sizes odd.
        bias: Of shape `(filters,)`.
    """
    sizes = kernel.shape[:-2]
    margins = [(size // 2, size // 2) for size in sizes]
    padded = np.pad(x, [(0, 0), *margins, (0, 0)])
    result = np.zeros((*x.shape[:-1], kernel.shape[-1])) + bias
    for offset in np.ndindex(*sizes):
        window = tuple(slice(o, o + n) for o, n in zip(offset, x.shape[1:-1]))
        result += padded[(slice(None), *window)] @ kernel[offset]
    return result


class Forward:
    """Convolutions and norms with the weights of a model's layers."""

    def __init__(self, model):
        self.model = model

    def convolve(self, x, name):
        return convolve(x, *weights(self.model, name))

    def norm(self, x, name):
        gamma, beta, mean, variance = weights(self.model, name)
        return (x - mean) / np.sqrt(variance + 1e-5) * gamma + beta
