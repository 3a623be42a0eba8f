"""Random numbers, and state as plain arrays that any file format takes."""

import random
from typing import Any

import numpy as np

WORD = 2**64


def make_generator(
    seed: int | np.random.Generator | None,
) -> np.random.Generator:
    """Returns a NumPy generator, also from an integer, or from `None`."""
    if isinstance(seed, np.random.Generator):
        return seed
    if seed is None:
        # Python's numbers are what `keras.utils.set_random_seed` seeds.
        seed = random.randrange(2**32)
    return np.random.default_rng(seed)


def generator_state(rng: np.random.Generator) -> np.ndarray:
    """Returns the state of a generator of `make_generator`.

    Returns:
        Uint64 array of shape `(6,)`.
    """
    state = rng.bit_generator.state
    if state["bit_generator"] != "PCG64":
        raise ValueError(
            "Expected a generator of `np.random.default_rng`. "
            f"Received: one of {state['bit_generator']}"
        )
    numbers = state["state"]["state"], state["state"]["inc"]
    words = [half for number in numbers for half in divmod(number, WORD)]
    return np.array([*words, state["has_uint32"], state["uinteger"]], "uint64")


def set_generator_state(rng: np.random.Generator, words: np.ndarray) -> None:
    """Sets the state that `generator_state` returned."""
    numbers = [int(word) for word in words]
    rng.bit_generator.state = {
        "bit_generator": "PCG64",
        "state": {
            "state": numbers[0] * WORD + numbers[1],
            "inc": numbers[2] * WORD + numbers[3],
        },
        "has_uint32": numbers[4],
        "uinteger": numbers[5],
    }


def check_state(owner: Any, state: dict[str, np.ndarray]) -> None:
    """Raises an error unless `state` has the arrays of the owner's state."""
    expected = {k: np.shape(v) for k, v in owner.get_state().items()}
    received = {k: np.shape(v) for k, v in state.items()}
    if received != expected:
        raise ValueError(
            f"Expected the state of {type(owner).__name__}, arrays of shapes "
            f"{expected}. Received: {received}"
        )
