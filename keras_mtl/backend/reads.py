"""Which variables a block of code reads."""

from collections.abc import Sequence
from contextlib import AbstractContextManager

import keras

from keras_mtl.backend.primitives import of_backend


def variables_read(
    variables: Sequence[keras.Variable],
) -> AbstractContextManager:
    """Returns a context that notes which variables the code inside reads.

    On JAX it is used in a `keras.StatelessScope`. What is read there is what
    any gradient could reach, and no tensor is looked at.

    Args:
        variables: The trainable variables to look for.

    Returns:
        A context manager whose target is a set; at the end of the block it has
        the `id` of each variable that was read. The target is `None` where it
        cannot be known, as in what `torch.compile` compiles.
    """
    return of_backend().variables_read(variables)
