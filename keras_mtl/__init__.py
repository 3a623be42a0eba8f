"""Multi-task learning for Keras 3."""

from keras_mtl import agents
from keras_mtl import architectures
from keras_mtl import callbacks
from keras_mtl import datasets
from keras_mtl import loops
from keras_mtl import losses
from keras_mtl import metrics
from keras_mtl import models
from keras_mtl import plots
from keras_mtl import selection
from keras_mtl import testing
from keras_mtl import weightings
from keras_mtl.benchmarking import benchmark
from keras_mtl.benchmarking import tune
from keras_mtl.model import MultiTaskModel
from keras_mtl.multi_loss_model import MultiLossModel
from keras_mtl.version import __version__

__all__ = [
    "MultiLossModel",
    "MultiTaskModel",
    "__version__",
    "agents",
    "architectures",
    "benchmark",
    "callbacks",
    "datasets",
    "loops",
    "losses",
    "metrics",
    "models",
    "plots",
    "selection",
    "testing",
    "tune",
    "weightings",
]


def __getattr__(name: str) -> object:
    """Says where a class is that was looked for in the package itself."""
    hint = ""
    for module in (
        weightings,
        callbacks,
        losses,
        metrics,
        selection,
        architectures,
        models,
        agents,
    ):
        if name in module.__all__:
            hint = f". Type {module.__name__}.{name}"
    raise AttributeError(f"module 'keras_mtl' has no attribute {name!r}{hint}")
