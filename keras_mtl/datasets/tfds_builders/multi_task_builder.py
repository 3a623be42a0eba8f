"""What the builders of this package share."""

import abc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from keras_mtl.datasets.task_data import TaskData


class MultiTaskBuilder(tfds.core.GeneratorBasedBuilder):
    """A builder whose examples are those of a function of `datasets`.

    A subclass has a docstring for a description, and says in `_read` what the
    splits are, and in `_features` what an example has.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    # The folder in `manual_dir`, and the page of the data.
    FOLDER = ""
    HOMEPAGE = ""

    @abc.abstractmethod
    def _read(self, folder: Path) -> TaskData:
        """Returns the splits, read from a folder."""

    @abc.abstractmethod
    def _features(self) -> tuple[dict, dict]:
        """Returns the features of the inputs and those of the labels."""

    def _examples(self, split: Any) -> Iterator[dict]:
        """Yields the examples of a split `(x, {task: y})` of arrays."""
        x, y = split
        inputs = x if isinstance(x, dict) else {"image": x}
        arrays = {**inputs, **y}
        for i in range(len(next(iter(arrays.values())))):
            yield {name: array[i] for name, array in arrays.items()}

    def _info(self) -> tfds.core.DatasetInfo:
        inputs, labels = self._features()
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict(inputs | labels),
            supervised_keys=(_keys(inputs), self._supervised(labels)),
            homepage=self.HOMEPAGE,
            metadata=tfds.core.MetadataDict(),
        )

    def _supervised(self, labels: dict) -> Any:
        return {name: name for name in labels}

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
        data = self._read(self._folder(dl_manager))
        return {
            name: self._generate_examples(split)
            for name, split in data.splits.items()
        }

    def _folder(self, dl_manager):
        # The folder may be in `manual_dir`, or be `manual_dir` itself.
        manual = Path(dl_manager.manual_dir)
        inner = manual / self.FOLDER
        return inner if inner.exists() else manual

    def _generate_examples(self, split: Any) -> Iterator[tuple[int, dict]]:
        yield from enumerate(self._examples(split))


def label_or_missing(shape: tuple = (1,), **options: Any) -> Any:
    """Returns the feature of a label that is NaN where it is missing."""
    return tfds.features.Tensor(shape=shape, dtype=np.float32, **options)


def _keys(features):
    # A single input stands alone, as in the arguments of `fit`.
    names = list(features)
    return names[0] if len(names) == 1 else {name: name for name in names}
