"""Gradients of a function of tensors."""

from collections.abc import Callable
from typing import Any

from keras_mtl.backend.primitives import of_backend


def gradient(function: Callable, tensors: list[Any]) -> list[Any]:
    """Returns the gradient of a scalar function.

    It can be used inside of compiled functions and loops, and whether or not
    gradients are being recorded around it.

    Args:
        function: Function of a list of tensors that returns a scalar.
        tensors: List of float tensors.

    Returns:
        List of tensors of the same shapes.
    """
    return of_backend().gradient(function, tensors)
