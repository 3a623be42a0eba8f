"""Callbacks that watch a multi-task training."""

from keras_mtl.callbacks.gradient_cosines import GradientCosines

__all__ = ["GradientCosines"]
