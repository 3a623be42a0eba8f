"""Training steps, from the data to the optimizer; a folder for each backend."""

import importlib

from keras_mtl.backend.primitives import backend_name


def of_backend(module):
    """Imports a module of the folder of the backend in use.

    Args:
        module: Name of the module, such as `"trainer"`.
    """
    return importlib.import_module(
        f"keras_mtl.training.{backend_name()}.{module}"
    )
