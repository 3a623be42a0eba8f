"""Gradients of a function of tensors, on each backend."""

import keras


def gradient(function, tensors):
    """Returns the gradient of a scalar function.

    It can be used inside of compiled functions and loops, and whether or not
    gradients are being recorded around it.

    Args:
        function: Function of a list of tensors that returns a scalar.
        tensors: List of float tensors.

    Returns:
        List of tensors of the same shapes.
    """
    return _GRADIENTS[keras.backend.backend()](function, tensors)


def _tensorflow(function, tensors):
    import tensorflow as tf

    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(tensors)
        value = function(tensors)
    return tape.gradient(value, tensors)


def _jax(function, tensors):
    import jax

    return jax.grad(function)(tensors)


def _torch(function, tensors):
    import torch

    with torch.enable_grad():
        tensors = [tensor.detach().requires_grad_() for tensor in tensors]
        return list(torch.autograd.grad(function(tensors), tensors))


_GRADIENTS = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
