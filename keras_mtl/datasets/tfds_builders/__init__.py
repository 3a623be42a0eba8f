"""The data sets of this package, as builders of TensorFlow Datasets.

To import this module makes their names known to `tfds.load` and
`tfds.data_source`. It needs `tensorflow-datasets`, and `tfds.load` TensorFlow.

| name | configs |
| --- | --- |
| `fdu_mtl` | `amazon` (14 tasks), `all` (16), or the name of a task |
| `glue_mtl` | the name of a task |
| `multi_mnist` | `held_out`, `paper` (without a validation split) |
| `newsgroups_mtl` | `topics` (4 tasks), or the name of a task |
| `nyuv2_mtl` | `igb`, `mtan`: who splits in this way |
| `qm9_mtl` | `papers` (130,000 molecules), `small` (5,000) |

Where no config is named, it is the first. TensorFlow Datasets itself has a
`glue` and a `qm9`, of other splits and other targets.

The examples, their splits and their seed are those of the functions of
`keras_mtl.datasets`, from the same files: those of a `manual_dir`. Data sets in
which tasks share their inputs have, as a pair, `(x, {task: y})`, the arguments
of `fit`.

Example:

```python
import tensorflow_datasets as tfds

import keras_mtl.datasets.tfds_builders  # makes the names known

config = tfds.download.DownloadConfig(manual_dir="data")  # it has nyuv2/
train, validation = tfds.load(
    "nyuv2_mtl",
    split=["train", "validation"],
    as_supervised=True,
    download_and_prepare_kwargs={"download_config": config},
)
model.fit(train.batch(8), validation_data=validation.batch(8))
```

Reference:

- [TensorFlow Datasets](https://www.tensorflow.org/datasets/overview).
"""

from keras_mtl.datasets.tfds_builders.fdu_mtl import FduMtl
from keras_mtl.datasets.tfds_builders.fdu_mtl import FduMtlConfig
from keras_mtl.datasets.tfds_builders.glue_mtl import GlueMtl
from keras_mtl.datasets.tfds_builders.glue_mtl import GlueMtlConfig
from keras_mtl.datasets.tfds_builders.multi_mnist import MultiMnist
from keras_mtl.datasets.tfds_builders.multi_mnist import MultiMnistConfig
from keras_mtl.datasets.tfds_builders.newsgroups_mtl import NewsgroupsMtl
from keras_mtl.datasets.tfds_builders.newsgroups_mtl import NewsgroupsMtlConfig
from keras_mtl.datasets.tfds_builders.nyuv2_mtl import Nyuv2Mtl
from keras_mtl.datasets.tfds_builders.nyuv2_mtl import Nyuv2MtlConfig
from keras_mtl.datasets.tfds_builders.qm9_mtl import Qm9Mtl
from keras_mtl.datasets.tfds_builders.qm9_mtl import Qm9MtlConfig

__all__ = [
    "FduMtl",
    "FduMtlConfig",
    "GlueMtl",
    "GlueMtlConfig",
    "MultiMnist",
    "MultiMnistConfig",
    "NewsgroupsMtl",
    "NewsgroupsMtlConfig",
    "Nyuv2Mtl",
    "Nyuv2MtlConfig",
    "Qm9Mtl",
    "Qm9MtlConfig",
]
