"""Multi-task data sets, each read from a local copy: nothing is downloaded."""

from keras_mtl.datasets import fdu_mtl
from keras_mtl.datasets import glue
from keras_mtl.datasets import nyuv2
from keras_mtl.datasets import qm9

__all__ = ["fdu_mtl", "glue", "nyuv2", "qm9"]
