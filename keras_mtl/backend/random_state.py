"""The random numbers for which Keras has no variable, as plain arrays."""

import keras
import numpy as np

if keras.backend.backend() == "torch":
    import torch

    def get_random_state():
        """Returns the states of the backend's own generators.

        Layers draw from them on PyTorch, such as dropout without a seed.

        Returns:
            Dict of name to uint8 array.
        """
        states = {"torch.cpu": torch.get_rng_state()}
        for i, state in enumerate(torch.cuda.get_rng_state_all()):
            states[f"torch.cuda.{i}"] = state
        return {name: state.numpy() for name, state in states.items()}

    def set_random_state(states):
        """Sets those states that are of generators of this machine."""
        states = {
            name: torch.from_numpy(np.array(state, "uint8"))
            for name, state in states.items()
        }
        if "torch.cpu" in states:
            torch.set_rng_state(states["torch.cpu"])
        for i in range(torch.cuda.device_count()):
            if f"torch.cuda.{i}" in states:
                torch.cuda.set_rng_state(states[f"torch.cuda.{i}"], i)

else:

    def get_random_state():
        return {}

    def set_random_state(states):
        del states
