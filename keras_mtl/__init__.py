"""Multi-task learning for Keras 3."""

from keras_mtl import agents
from keras_mtl import callbacks
from keras_mtl import datasets
from keras_mtl import metrics
from keras_mtl import models
from keras_mtl import plots
from keras_mtl import selection
from keras_mtl import testing
from keras_mtl import weightings
from keras_mtl.benchmarking import benchmark
from keras_mtl.model import MultiTaskModel
from keras_mtl.version import __version__

__all__ = [
    "MultiTaskModel",
    "__version__",
    "agents",
    "benchmark",
    "callbacks",
    "datasets",
    "metrics",
    "models",
    "plots",
    "selection",
    "testing",
    "weightings",
]
