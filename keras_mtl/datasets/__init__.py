"""Multi-task data sets, each read from a local copy: nothing is downloaded."""

from keras_mtl.datasets import qm9

__all__ = ["qm9"]
