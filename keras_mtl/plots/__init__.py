"""Plots of weights, losses, gradients and Δm. They need matplotlib."""

from keras_mtl.plots.delta_m import delta_m
from keras_mtl.plots.gradient_cosines import gradient_cosines
from keras_mtl.plots.task_losses import task_losses
from keras_mtl.plots.task_selection import task_selection
from keras_mtl.plots.task_weights import task_weights

__all__ = [
    "delta_m",
    "gradient_cosines",
    "task_losses",
    "task_selection",
    "task_weights",
]
