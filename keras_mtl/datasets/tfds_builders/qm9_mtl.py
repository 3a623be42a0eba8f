import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from keras_mtl.datasets import qm9
from keras_mtl.datasets.task_data import TaskData
from keras_mtl.datasets.tfds_builders.multi_task_builder import MultiTaskBuilder
from keras_mtl.datasets.tfds_builders.multi_task_builder import label_or_missing


@dataclasses.dataclass
class Qm9MtlConfig(tfds.core.BuilderConfig):
    """Which molecules there are, and how they are split.

    Args:
        molecules: See `keras_mtl.datasets.qm9.load_data`.
        splits: See `keras_mtl.datasets.qm9.load_data`.
        seed: See `keras_mtl.datasets.qm9.load_data`.
        data_dir: See `keras_mtl.datasets.qm9.load_data`.
    """

    molecules: int | None = None
    splits: Any = "papers"
    seed: int = 0
    data_dir: str | None = None


class Qm9Mtl(MultiTaskBuilder):
    """QM9: eleven properties of small organic molecules.

    An example is the `atoms` of a molecule, its `positions` in angstrom, and
    eleven targets with zero mean and unit standard deviation over the training
    split. `info.metadata["statistics"]` has each task's `mean`, `std` and
    `unit`. The data come from the package `qm9pack`: `pip install
    qm9pack==1.0.3`.
    """

    HOMEPAGE = "https://doi.org/10.1038/sdata.2014.22"
    BUILDER_CONFIGS = [
        Qm9MtlConfig(
            name="papers", description="110,000 / 10,000 / 10,000 molecules."
        ),
        Qm9MtlConfig(
            name="small",
            description="4,000 / 500 / 500 molecules.",
            molecules=5000,
            splits=(0.8, 0.1, 0.1),
        ),
    ]

    def _features(self) -> tuple[dict, dict]:
        size = qm9.MAX_ATOMS
        return {
            "atoms": tfds.features.Tensor(shape=(size,), dtype=np.int32),
            "positions": tfds.features.Tensor(
                shape=(size, 3), dtype=np.float32
            ),
        }, {task: label_or_missing() for task in qm9.TASKS}

    def _folder(self, dl_manager):
        return Path(dl_manager.download_dir)

    def _read(self, folder: Path) -> TaskData:
        config = self.builder_config
        data = qm9.load_data(
            config.molecules,
            config.seed,
            config.splits,
            cache_dir=folder,
            data_dir=config.data_dir,
        )
        self.info.metadata["statistics"] = {
            task: item._asdict()
            for task, item in data.info["statistics"].items()
        }
        return data
