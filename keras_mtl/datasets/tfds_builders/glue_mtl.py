import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from keras_mtl.datasets import glue
from keras_mtl.datasets.task_data import TaskData
from keras_mtl.datasets.tfds_builders.multi_task_builder import MultiTaskBuilder


@dataclasses.dataclass
class GlueMtlConfig(tfds.core.BuilderConfig):
    """Which task it is, and where the validation split is taken from.

    Args:
        task: One of `keras_mtl.datasets.glue.ALL_TASKS`.
        validation: See `keras_mtl.datasets.glue.load_data`: `None` for the dev
            set; with a share of the training set, the dev set is `test`.
        seed: See `keras_mtl.datasets.glue.load_data`.
    """

    task: str = "cola"
    validation: float | None = None
    seed: int = 0


class GlueMtl(MultiTaskBuilder):
    """GLUE: tasks of understanding English sentences, or pairs of them.

    An example is a sentence, `first`, where the task is about pairs also
    `second`, and the `label`. The split `validation` is the dev set. There is a
    split `test` where the file is there, of which the labels are missing: -1,
    or NaN for STS-B.
    """

    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
    Download the tasks of GLUE from https://gluebenchmark.com/tasks and extract
    them so that `manual_dir/glue_data/` has a folder for each task, such as
    `CoLA`, with the files `train.tsv`, `dev.tsv` and, as an option, `test.tsv`.
    """
    FOLDER = "glue_data"
    HOMEPAGE = "https://gluebenchmark.com"
    BUILDER_CONFIGS = [
        GlueMtlConfig(name=task, description=f"{task} alone.", task=task)
        for task in glue.ALL_TASKS
    ]

    def _features(self) -> tuple[dict, dict]:
        task = self.builder_config.task
        names = ("first", "second") if glue.is_of_pairs(task) else ("first",)
        label = tfds.features.Scalar(dtype=np.float32)
        if glue.NUM_CLASSES[task]:
            label = tfds.features.ClassLabel(num_classes=glue.NUM_CLASSES[task])
        return {name: tfds.features.Text() for name in names}, {"label": label}

    def _supervised(self, labels: dict) -> Any:
        return "label"

    def _read(self, folder: Path) -> TaskData:
        config = self.builder_config
        data = glue.load_data(
            folder, [config.task], config.validation, config.seed
        )
        if config.validation is not None:
            return data
        return TaskData(data.train, data.validation, self._read_test(folder))

    def _read_test(self, folder):
        task = self.builder_config.task
        try:
            x = glue.load_test(folder, [task])[task]
        except FileNotFoundError:
            return None
        missing = -1 if glue.NUM_CLASSES[task] else np.nan
        return {task: (x, np.full(len(x["first"]), missing))}

    def _examples(self, split: Any) -> Iterator[dict]:
        ((x, labels),) = split.values()
        for *sentences, label in zip(*x.values(), labels.tolist()):
            yield {**dict(zip(x, sentences)), "label": label}
