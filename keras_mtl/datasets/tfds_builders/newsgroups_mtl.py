import dataclasses
from pathlib import Path

import tensorflow_datasets as tfds

from keras_mtl.datasets import newsgroups
from keras_mtl.datasets.task_data import TaskData
from keras_mtl.datasets.tfds_builders.text_builder import TextBuilder


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


class NewsgroupsMtl(TextBuilder):
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

    def _read(self, folder: Path) -> TaskData:
        config = self.builder_config
        return newsgroups.load_posts(
            folder, config.tasks, config.validation, seed=config.seed
        )
