"""Training steps, from the data to the optimizer; a folder for each backend."""

import importlib

import keras

FOLDERS = {
    "tensorflow": "keras_mtl.training.tensorflow",
    "jax": "keras_mtl.training.jax",
    "torch": "keras_mtl.training.torch",
}


def of_backend(module):
    """Imports a module of the folder of the backend in use.

    Args:
        module: Name of the module, such as `"trainer"`.

    Raises:
        ImportError: If this package does not train on that backend.
    """
    backend = keras.backend.backend()
    if backend not in FOLDERS:
        raise ImportError(
            f"keras_mtl trains on the Keras backends {', '.join(FOLDERS)} (the "
            f"environment variable KERAS_BACKEND). Received: {backend!r}"
        )
    return importlib.import_module(f"{FOLDERS[backend]}.{module}")
