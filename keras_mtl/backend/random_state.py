"""The random numbers for which Keras has no variable, as plain arrays."""

import numpy as np

from keras_mtl.backend.primitives import of_backend


def get_random_state() -> dict[str, np.ndarray]:
    """Returns the states of the backend's own generators.

    Returns:
        Dict of name to uint8 array; empty where a backend has none.
    """
    return of_backend().get_random_state()


def set_random_state(states: dict[str, np.ndarray]) -> None:
    """Sets those states that are of generators of this machine."""
    of_backend().set_random_state(states)
