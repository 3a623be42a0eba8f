"""Plots of weights, losses, gradients and Δm. They need matplotlib.

`task_graph` needs Graphviz instead.
"""

from keras_mtl.plots.cost_and_quality import cost_and_quality
from keras_mtl.plots.delta_m import delta_m
from keras_mtl.plots.gradient_cosines import gradient_cosines
from keras_mtl.plots.task_graph import task_graph
from keras_mtl.plots.task_losses import task_losses
from keras_mtl.plots.task_ranks import task_ranks
from keras_mtl.plots.task_selection import task_selection
from keras_mtl.plots.task_weights import task_weights

__all__ = [
    "cost_and_quality",
    "delta_m",
    "gradient_cosines",
    "task_graph",
    "task_losses",
    "task_ranks",
    "task_selection",
    "task_weights",
]
