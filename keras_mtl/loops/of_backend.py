"""What a loop asks of the backend of Keras, on which a weighting computes."""

from types import ModuleType

import keras

from keras_mtl.training import of_backend

FUNCTIONS = {
    "tensorflow": "tape_gradient",
    "jax": "value_and_grad",
    "torch": "backward",
}


def loop_of_backend(backend: str) -> ModuleType:
    """Imports the steps of a loop on a backend.

    Args:
        backend: Name of the backend that a function is for.

    Raises:
        ValueError: If Keras uses another one.
    """
    in_use = keras.backend.backend()
    if in_use != backend:
        raise ValueError(
            f"Expected the {backend} backend of Keras, on which the weighting "
            f"computes, for `keras_mtl.loops.{FUNCTIONS[backend]}`: set "
            f"KERAS_BACKEND={backend} before Keras is imported. Received: "
            f"{in_use!r}, for which there is `keras_mtl.loops."
            f"{FUNCTIONS.get(in_use)}`"
        )
    return of_backend("loop")
