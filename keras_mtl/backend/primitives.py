"""What only a backend can say: one module for each, with the same functions.

A fourth backend is a module like `backend/jax.py` and a folder like
`training/jax/`, both of its name, and its name in `BACKENDS`.
"""

import importlib

import keras

BACKENDS = ("tensorflow", "jax", "torch")


def backend_name():
    """Returns the name of the backend in use.

    Raises:
        ImportError: If this package does not train on that backend.
    """
    backend = keras.backend.backend()
    if backend not in BACKENDS:
        raise ImportError(
            "keras_mtl trains on the Keras backends tensorflow, jax and torch "
            f"(the environment variable KERAS_BACKEND). Received: {backend!r}"
        )
    return backend


def of_backend():
    """Imports the module with the primitives of the backend in use."""
    return importlib.import_module(f"keras_mtl.backend.{backend_name()}")
