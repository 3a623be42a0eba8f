"""Multi-task data sets, each read from a local copy: nothing is downloaded.

`ShuffledBatches` takes arrays, in an order that is the same after a restart.
"""

from keras_mtl.datasets import fdu_mtl
from keras_mtl.datasets import glue
from keras_mtl.datasets import nyuv2
from keras_mtl.datasets import qm9
from keras_mtl.datasets.shuffled_batches import ShuffledBatches

__all__ = ["ShuffledBatches", "fdu_mtl", "glue", "nyuv2", "qm9"]
