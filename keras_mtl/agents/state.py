"""Restoring the state of an agent."""

import warnings
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras


def load_state(
    layer: keras.layers.Layer,
    store: Mapping[str, Any],
    variables: Sequence[Any] | None = None,
) -> None:
    """Loads the variables of a layer, with a warning if they do not fit.

    A model that was saved with another agent can be loaded all the same: the
    network's weights are what counts.

    Args:
        layer: The layer, of which the warning tells.
        store: Dict of `"0"`, `"1"`, ... to arrays.
        variables: The variables, by default those that Keras tracks.
    """
    variables = layer.variables if variables is None else variables
    values = [store[key] for key in sorted(store.keys(), key=int)]
    shapes = [tuple(value.shape) for value in values]
    expected = [tuple(v.shape) for v in variables]
    if shapes == expected:
        for variable, value in zip(variables, values):
            variable.assign(value)
    elif shapes:
        warnings.warn(
            f"Expected the state of {type(layer).__name__}, variables of "
            f"shapes {expected}. Received: variables of shapes {shapes}. The "
            "file was saved with another agent or other tasks; the state is "
            "left as it is.",
            stacklevel=2,
        )
