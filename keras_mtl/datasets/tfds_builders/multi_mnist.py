import dataclasses
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from keras_mtl.datasets import multi_mnist
from keras_mtl.datasets.task_data import TaskData
from keras_mtl.datasets.tfds_builders.multi_task_builder import MultiTaskBuilder


@dataclasses.dataclass
class MultiMnistConfig(tfds.core.BuilderConfig):
    """How the splits and the pairs are drawn.

    Args:
        validation: See `keras_mtl.datasets.multi_mnist.load_data`.
        seed: See `keras_mtl.datasets.multi_mnist.load_data`.
    """

    validation: int = 10000
    seed: int = 0


class MultiMnist(MultiTaskBuilder):
    """Two digits of MNIST in one image, each of which is a task.

    An example is an `image` of 28 x 28 pixels, in [0, 1], and the digits `left`
    and `right`.
    """

    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
    Call `keras.datasets.mnist.load_data()` and copy the file `mnist.npz` that
    it downloads, to `~/.keras/datasets`, into `manual_dir/`.
    """
    HOMEPAGE = "https://arxiv.org/abs/1810.04650"
    BUILDER_CONFIGS = [
        MultiMnistConfig(
            name="held_out", description="10,000 digits are for validation."
        ),
        MultiMnistConfig(
            name="paper", description="No validation split.", validation=0
        ),
    ]

    def _features(self) -> tuple[dict, dict]:
        image = tfds.features.Tensor(shape=(28, 28, 1), dtype=np.float32)
        return {"image": image}, {
            task: tfds.features.ClassLabel(num_classes=multi_mnist.CLASSES)
            for task in multi_mnist.TASKS
        }

    def _read(self, folder: Path) -> TaskData:
        config = self.builder_config
        return multi_mnist.load_data(
            folder, config.validation, seed=config.seed
        )
