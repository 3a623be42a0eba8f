import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from keras_mtl.datasets import fdu_mtl
from keras_mtl.datasets import texts
from keras_mtl.datasets.task_data import TaskData
from keras_mtl.datasets.tfds_builders.multi_task_builder import MultiTaskBuilder
from keras_mtl.datasets.tfds_builders.multi_task_builder import label_or_missing


@dataclasses.dataclass
class FduMtlConfig(tfds.core.BuilderConfig):
    """Which tasks there are, and how the validation split is drawn.

    Args:
        tasks: See `keras_mtl.datasets.fdu_mtl.load_reviews`.
        validation: See `keras_mtl.datasets.fdu_mtl.load_reviews`.
        seed: See `keras_mtl.datasets.fdu_mtl.load_reviews`.
    """

    tasks: tuple[str, ...] = fdu_mtl.AMAZON_TASKS
    validation: float = 0.1
    seed: int = 0


class FduMtl(MultiTaskBuilder):
    """Sixteen binary sentiment tasks, each of one kind of review.

    An example is the `text` of a review and, for each task, a label: 1 for a
    positive review, 0 for a negative one, NaN for a review of another task.
    """

    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
    Download FDU-MTL of Liu et al. (2017), "Adversarial Multi-task Learning for
    Text Classification" (https://aclanthology.org/P17-1001/), and extract it so
    that `manual_dir/fdu_mtl/` has the files `<task>.task.train` and
    `<task>.task.test`.
    """
    FOLDER = "fdu_mtl"
    HOMEPAGE = "https://aclanthology.org/P17-1001/"
    BUILDER_CONFIGS = [
        FduMtlConfig(name="amazon", description="The 14 tasks of Amazon."),
        FduMtlConfig(
            name="all", description="All 16 tasks.", tasks=fdu_mtl.TASKS
        ),
        *(
            FduMtlConfig(name=task, description=f"{task} alone.", tasks=(task,))
            for task in fdu_mtl.TASKS
        ),
    ]

    def _features(self) -> tuple[dict, dict]:
        tasks = self.builder_config.tasks
        return {"text": tfds.features.Text()}, {
            task: label_or_missing() for task in tasks
        }

    def _read(self, folder: Path) -> TaskData:
        config = self.builder_config
        return fdu_mtl.load_reviews(
            folder, config.tasks, config.validation, seed=config.seed
        )

    def _examples(self, split: Any) -> Iterator[dict]:
        for text, labels in texts.with_labels_of_all(split):
            yield {"text": text, **labels}
