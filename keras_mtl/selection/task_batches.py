"""The endless batches of one task, from any kind of data that `fit` takes."""

import types
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_mtl.backend.array_slices import ArraySlices
from keras_mtl.backend.array_slices import shuffled_order
from keras_mtl.backend.keras_internals import can_convert_arrays
from keras_mtl.backend.keras_internals import get_data_adapter
from keras_mtl.backend.keras_internals import is_tf_dataset


def task_batches(
    data: Any, batch_size: int, shuffle: bool, seed: int
) -> "ArrayBatches | PyDatasetBatches | IteratorBatches":
    """Returns the batches of a task's data.

    Args:
        data: `(x, y)` or `(x, y, sample_weight)` of arrays, or any other data
            with labels that `keras.Model.fit` takes as `x`.
        batch_size: Number of examples in a batch of arrays.
        shuffle: Whether to shuffle arrays and the batches of a `PyDataset`.
        seed: Integer.
    """
    if isinstance(data, (tuple, list)):
        if len(data) not in (2, 3) or not can_convert_arrays(tuple(data)):
            raise ValueError(
                "Expected the data of a task to be `(x, y)` or `(x, y, "
                "sample_weight)` of arrays, or a data set with labels. "
                f"Received: a {type(data).__name__} of "
                f"{[type(part).__name__ for part in data]}"
            )
        return ArrayBatches(tuple(data), batch_size, shuffle, seed)
    if isinstance(data, keras.utils.PyDataset):
        return PyDatasetBatches(data, shuffle, seed)
    return IteratorBatches(data)


def one_pass(data: Any, batch_size: int) -> Iterator[tuple]:
    """Returns an iterable of the batches of one pass through a task's data."""
    if isinstance(data, (tuple, list)):
        adapter = get_data_adapter(*data, batch_size=batch_size)
    else:
        adapter = get_data_adapter(data)
    for batch in adapter.get_numpy_iterator():
        yield as_tensors(_checked(batch))


def as_tensors(batch: Any) -> Any:
    """Makes tensors of a batch on PyTorch, which is not traced."""
    if keras.backend.backend() != "torch":
        return batch
    return keras.tree.map_structure(
        lambda x: x if x is None else keras.ops.convert_to_tensor(x), batch
    )


class ArrayBatches:
    """Batches of arrays, each pass in another order.

    A batch goes on with the next pass where one ends, so that all have the same
    size. Batch number `n` depends on the seed and on `n` alone.
    """

    def __init__(self, data: Any, batch_size: int, shuffle: bool, seed: int):
        self.arrays = data
        self._slices = ArraySlices(data)
        self.num_examples = self._slices.num_examples
        self.num_batches = -(-self.num_examples // batch_size)
        self._batch_size = batch_size
        self._shuffle = shuffle
        self._seed = seed
        self._next = 0
        self._pass, self._order = None, None

    def seek(self, index: int, seed: int) -> None:
        """Lets the next batch be that with this number, under this seed."""
        self._next = index
        self._seed = seed
        self._pass = None

    def __next__(self) -> tuple:
        start = self._next * self._batch_size
        self._next += 1
        return self._slices[self._indices(start, start + self._batch_size)]

    def _indices(self, start, stop):
        parts = []
        while start < stop:
            number, offset = divmod(start, self.num_examples)
            part = self._order_of(number)[offset : offset + stop - start]
            parts.append(part)
            start += len(part)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _order_of(self, number):
        if number != self._pass:
            self._pass = number
            self._order = self._new_order(number)
        return self._order

    def _new_order(self, number):
        if self._shuffle:
            return shuffled_order(self.num_examples, self._seed, number)
        return np.arange(self.num_examples)


class PyDatasetBatches:
    """Batches of a `PyDataset`, each pass in another order."""

    arrays = None

    def __init__(
        self, dataset: keras.utils.PyDataset, shuffle: bool, seed: int
    ):
        self._dataset = dataset
        self._shuffle = shuffle
        self._seed = seed
        self._next = 0
        self._pass: int | None = None
        self._order: np.ndarray | None = None
        self.num_batches = dataset.num_batches

    @property
    def num_examples(self) -> None:
        return None

    def seek(self, index: int, seed: int) -> None:
        """Lets the next batch be that with this number, under this seed.

        The data set is told of the passes before, in which it may shuffle.
        """
        self._next = index
        self._seed = seed
        if self.num_batches:
            if self._pass is not None:
                self._order = self._order_of(self._pass)
            while (self._pass or 0) < index // self.num_batches:
                self._begin(0 if self._pass is None else self._pass + 1)

    def __next__(self) -> tuple:
        index = self._next
        self._next += 1
        if self.num_batches:
            number, index = divmod(index, self.num_batches)
            if number != self._pass:
                self._begin(number)
            index = int(self._order[index])
        elif self._pass is None:
            self._begin(0)
        return _checked(self._dataset[index])

    def _begin(self, number):
        if self._pass is not None:
            self._dataset.on_epoch_end()
        self._dataset.on_epoch_begin()
        self._pass = number
        if self.num_batches:
            self._order = self._order_of(number)

    def _order_of(self, number: int) -> np.ndarray:
        if self._shuffle:
            return shuffled_order(self.num_batches, self._seed, number)
        return np.arange(self.num_batches)


class IteratorBatches:
    """Batches of a `tf.data.Dataset`, a `DataLoader` or a generator."""

    arrays = None

    def __init__(self, data: Any):
        self._data = data
        self._iterator = None
        self._taken = 0
        self.num_batches = None
        # A generator is not given to Keras's adapter, which would go on after
        # its end with the batches of its beginning.
        if not isinstance(data, types.GeneratorType):
            self._adapter = get_data_adapter(data)
            self.num_batches = self._adapter.num_batches

    @property
    def num_examples(self) -> None:
        return None

    def seek(self, index: int, seed: int) -> None:
        """Lets the next batch be that with this number, by skipping others."""
        del seed
        if index < self._taken:
            self._iterator, self._taken = None, 0
        while self._taken < index:
            next(self)

    def __next__(self) -> tuple:
        if self._iterator is None:
            self._iterator = self._begin()
        try:
            batch = next(self._iterator)
        except StopIteration:
            self._iterator = self._begin()
            try:
                batch = next(self._iterator)
            except StopIteration:
                raise ValueError(
                    "Expected data that can be gone through again and again, "
                    "since steps may take more batches than there are. "
                    f"Received: {self._data}, which ended after {self._taken} "
                    "batches"
                ) from None
        self._taken += 1
        return _checked(batch)

    def _begin(self):
        if isinstance(self._data, types.GeneratorType):
            return self._data
        backend = keras.backend.backend()
        if backend == "tensorflow" and is_tf_dataset(self._data):
            return iter(self._data)
        if backend == "jax":
            return iter(self._adapter.get_jax_iterator())
        return iter(self._adapter.get_numpy_iterator())


def _checked(batch):
    if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
        raise ValueError(
            "Expected batches with labels, `(x, y)` or `(x, y, "
            f"sample_weight)`. Received: {_described(batch)}"
        )
    return tuple(batch)


def _described(batch):
    name = type(batch).__name__
    if isinstance(batch, (tuple, list)):
        return f"a {name} of length {len(batch)}"
    return name
