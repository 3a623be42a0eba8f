from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds

from keras_mtl.datasets import texts
from keras_mtl.datasets.tfds_builders.multi_task_builder import MultiTaskBuilder
from keras_mtl.datasets.tfds_builders.multi_task_builder import label_or_missing


class TextBuilder(MultiTaskBuilder):
    """A builder of texts, each of which has the label of one of the tasks."""

    def _features(self) -> tuple[dict, dict]:
        tasks = self.builder_config.tasks
        return {"text": tfds.features.Text()}, {
            task: label_or_missing() for task in tasks
        }

    def _examples(self, split: Any) -> Iterator[dict]:
        for text, labels in texts.with_labels_of_all(split):
            yield {"text": text, **labels}
