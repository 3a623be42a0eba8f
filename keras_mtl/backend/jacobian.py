"""Gradients of several scalars, outside of a training step, on each backend."""

import contextlib

import keras


def jacobian(function, tensors):
    """Returns the gradients of each of several scalars.

    Args:
        function: Function of a list of tensors that returns a list of scalars.
        tensors: List of float tensors.

    Returns:
        For each scalar a list with its gradients with respect to `tensors`,
        `None` where it does not depend on one (on JAX zeros).
    """
    return _JACOBIANS[keras.backend.backend()](function, tensors)


def compiled(function, model):
    """Compiles a function of tensors as a model compiles its steps."""
    backend = keras.backend.backend()
    if model.run_eagerly or backend == "torch":
        return function
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=model.jit_compile)
    import jax

    return jax.jit(function) if model.jit_compile else function


def random_state_kept():
    """Returns a context after which a backend's own generator is as before.

    On PyTorch, dropout draws from it, and not from a seed of Keras.
    """
    if keras.backend.backend() != "torch":
        return contextlib.nullcontext()
    import torch

    return torch.random.fork_rng()


def values_of(model, variables):
    """Lists the present values of variables of a model."""
    if keras.backend.backend() == "jax":
        # Within an epoch of `fit`, the values are not in the variables.
        model.jax_state_sync()
    return [v.value for v in variables]


def _tensorflow(function, tensors):
    import tensorflow as tf

    tensors = [tf.convert_to_tensor(tensor) for tensor in tensors]
    with tf.GradientTape(
        persistent=True, watch_accessed_variables=False
    ) as tape:
        tape.watch(tensors)
        scalars = function(tensors)
    rows = [tape.gradient(scalar, tensors) for scalar in scalars]
    # The gradient of an embedding is sparse.
    return [
        [g if g is None else tf.convert_to_tensor(g) for g in row]
        for row in rows
    ]


def _jax(function, tensors):
    import jax
    from jax import numpy as jnp

    scalars, pull_back = jax.vjp(function, tensors)
    identity = jnp.eye(len(scalars))
    return [
        pull_back([one.astype(s.dtype) for one, s in zip(row, scalars)])[0]
        for row in identity
    ]


def _torch(function, tensors):
    import torch

    with torch.enable_grad():
        # A parameter stays what it is: modules of PyTorch hold it, too.
        tensors = [
            t if t.requires_grad else t.detach().requires_grad_()
            for t in tensors
        ]
        scalars = function(tensors)
    return [
        torch.autograd.grad(
            scalar, tensors, retain_graph=True, allow_unused=True
        )
        if scalar.requires_grad
        else [None] * len(tensors)
        for scalar in scalars
    ]


_JACOBIANS = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
