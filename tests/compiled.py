"""Compiled calls of a weighting on each backend."""

from keras_mtl.testing import compiled_call

__all__ = ["compiled_call"]
