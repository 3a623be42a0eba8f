import dataclasses
from pathlib import Path

import tensorflow_datasets as tfds

from keras_mtl.datasets import fdu_mtl
from keras_mtl.datasets.task_data import TaskData
from keras_mtl.datasets.tfds_builders.text_builder import TextBuilder


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


class FduMtl(TextBuilder):
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

    def _read(self, folder: Path) -> TaskData:
        config = self.builder_config
        return fdu_mtl.load_reviews(
            folder, config.tasks, config.validation, seed=config.seed
        )
