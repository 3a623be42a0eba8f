import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from keras_mtl.datasets import newsgroups
from keras_mtl.datasets import texts
from keras_mtl.datasets.task_data import TaskData
from keras_mtl.datasets.tfds_builders.multi_task_builder import MultiTaskBuilder
from keras_mtl.datasets.tfds_builders.multi_task_builder import label_or_missing


@dataclasses.dataclass
class NewsgroupsMtlConfig(tfds.core.BuilderConfig):
    """Which tasks there are, and how the validation split is drawn.

    Args:
        tasks: See `keras_mtl.datasets.newsgroups.load_posts`.
        validation: See `keras_mtl.datasets.newsgroups.load_posts`.
        seed: See `keras_mtl.datasets.newsgroups.load_posts`.
    """

    tasks: tuple[str, ...] = newsgroups.TASKS
    validation: float = 0.1
    seed: int = 0


class NewsgroupsMtl(MultiTaskBuilder):
    """20 Newsgroups as four tasks, each to tell four newsgroups apart.

    An example is the `text` of a post, without header, footer and quotes, and
    for each task a label: the class, from 0 to 3, or NaN for a post of another
    task.
    """

    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
    Download `20news-bydate.tar.gz` from http://qwone.com/~jason/20Newsgroups/
    and extract it so that `manual_dir/20news/` has the folders
    `20news-bydate-train` and `20news-bydate-test`.
    """
    FOLDER = "20news"
    HOMEPAGE = "http://qwone.com/~jason/20Newsgroups/"
    BUILDER_CONFIGS = [
        NewsgroupsMtlConfig(name="topics", description="All four tasks."),
        *(
            NewsgroupsMtlConfig(
                name=task, description=f"{task} alone.", tasks=(task,)
            )
            for task in newsgroups.TASKS
        ),
    ]

    def _features(self) -> tuple[dict, dict]:
        tasks = self.builder_config.tasks
        return {"text": tfds.features.Text()}, {
            task: label_or_missing() for task in tasks
        }

    def _read(self, folder: Path) -> TaskData:
        config = self.builder_config
        return newsgroups.load_posts(
            folder, config.tasks, config.validation, seed=config.seed
        )

    def _examples(self, split: Any) -> Iterator[dict]:
        for text, labels in texts.with_labels_of_all(split):
            yield {"text": text, **labels}
