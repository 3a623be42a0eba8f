"""Compiled calls of a weighting on each backend."""

from keras_mtl.testing.weighting_checks import compiled_call

__all__ = ["compiled_call"]
