from typing import Any

import keras

from keras_mtl.backend.array_slices import ArraySlices
from keras_mtl.backend.array_slices import shuffled_order
from keras_mtl.backend.keras_internals import can_convert_arrays

_ONE_WORKER = (
    "Expected `ShuffledBatches` to have one worker in this process, since "
    "others would take batches before their epoch begins, in another order. "
    "Received: {}"
)


class ShuffledBatches(keras.utils.PyDataset):
    """Arrays in batches, in an order that is the same after a restart.

    The order of the examples differs from epoch to epoch, and depends on the
    seed and the number of the epoch alone. So a training that was interrupted
    and is resumed at an epoch boundary (with `BackupAndRestore` or
    `initial_epoch`) takes the batches that it would have taken. Keras, with
    `shuffle=True` and arrays, takes another order after a restart.

    `MultiTaskModel.fit` calls `set_epoch` before each epoch; another training
    loop calls it itself, as with `DistributedSampler` of PyTorch, and leaves
    the order of the batches as it is (`shuffle=False` in `keras.Model.fit`).

    It takes one worker only: in Keras, several take batches of an epoch before
    it begins, in the order of the epoch before.

    Args:
        x: Inputs, an array or a structure of arrays, as of `fit`.
        y: Labels, as of `fit`.
        sample_weight: Weights of the samples, as of `fit`.
        batch_size: Number of examples in a batch. The last one of an epoch has
            those that are left.
        seed: Integer that is not negative.

    Example:

    ```python
    batches = keras_mtl.datasets.ShuffledBatches(x, y, batch_size=64, seed=1)
    backup = keras_mtl.callbacks.BackupAndRestore("backup")
    model.fit(batches, epochs=10, callbacks=[backup])
    ```

    Raises:
        ValueError: If the data are no arrays of the same length, or the batch
            size or the seed is not as said; if `workers` is set to more than
            one, or `use_multiprocessing` to true.
    """

    def __init__(
        self,
        x: Any,
        y: Any,
        sample_weight: Any = None,
        batch_size: int = 32,
        seed: int = 0,
    ):
        super().__init__()
        data = (x, y) if sample_weight is None else (x, y, sample_weight)
        if not can_convert_arrays(data):
            raise ValueError(
                "Expected `x`, `y` and `sample_weight` to be arrays. Received: "
                f"{[type(part).__name__ for part in data]}"
            )
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("seed", seed, 0),
        ):
            if int(value) != value or value < least:
                raise ValueError(
                    f"Expected `{name}` to be an integer of {least} or more. "
                    f"Received: {name}={value}"
                )
        self._examples = ArraySlices(data)
        self.y = y
        self.batch_size = batch_size
        self.seed = seed
        self.set_epoch(0)

    @property
    def workers(self) -> int:
        return super().workers

    @workers.setter
    def workers(self, value: int) -> None:
        if value > 1:
            raise ValueError(_ONE_WORKER.format(f"workers={value}"))
        self._workers = value

    @property
    def use_multiprocessing(self) -> bool:
        return super().use_multiprocessing

    @use_multiprocessing.setter
    def use_multiprocessing(self, value: bool) -> None:
        if value:
            raise ValueError(_ONE_WORKER.format(f"use_multiprocessing={value}"))
        self._use_multiprocessing = value

    def set_epoch(self, epoch: int) -> None:
        """Shuffles for an epoch, whose number begins with 0."""
        # The whole order is replaced in one assignment, since another thread
        # may take a batch meanwhile.
        self._order = shuffled_order(
            self._examples.num_examples, self.seed, epoch
        )

    @property
    def num_batches(self) -> int:
        return -(-self._examples.num_examples // self.batch_size)

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, index: int) -> Any:
        start = index * self.batch_size
        return self._examples[self._order[start : start + self.batch_size]]
