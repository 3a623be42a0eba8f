"""Multi-task data sets, each read from a local copy: nothing is downloaded.

Every loader returns a `TaskData`:

- `fdu_mtl.load_data`: train, validation and test, each `(x, {task: y})`; the
  vocabulary. `fdu_mtl.load_reviews`: the texts, each split `{task: (x, y)}`.
- `glue.load_data`: train and validation, each `{task: (x, y)}`, of texts.
- `multi_mnist.load_data`: train, validation and test, each `(x, {task: y})`.
- `newsgroups.load_data`: train, validation and test, each `(x, {task: y})`; the
  vocabulary. `newsgroups.load_posts`: the texts, each split `{task: (x, y)}`.
- `nyuv2.load_data`: train, validation and test, each `(x, {task: y})`.
- `qm9.load_data`: train, validation and test, each `(x, {task: y})`; the
  statistics.

They need NumPy alone. `keras_mtl.datasets.tfds_builders`, which is to be
imported on its own, has the same examples for `tfds.load` and
`tfds.data_source` of TensorFlow Datasets.

`ShuffledBatches` takes arrays, in an order that is the same after a restart.
"""

from keras_mtl.datasets import fdu_mtl
from keras_mtl.datasets import glue
from keras_mtl.datasets import multi_mnist
from keras_mtl.datasets import newsgroups
from keras_mtl.datasets import nyuv2
from keras_mtl.datasets import qm9
from keras_mtl.datasets.shuffled_batches import ShuffledBatches
from keras_mtl.datasets.task_data import TaskData

__all__ = [
    "ShuffledBatches",
    "TaskData",
    "fdu_mtl",
    "glue",
    "multi_mnist",
    "newsgroups",
    "nyuv2",
    "qm9",
]
