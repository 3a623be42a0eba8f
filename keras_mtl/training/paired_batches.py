"""Batches of training data, each with one of the data that weigh the tasks."""

import collections

import keras

from keras_mtl.backend.keras_internals import DataAdapter
from keras_mtl.backend.keras_internals import get_data_adapter
from keras_mtl.backend.keras_internals import in_super_batches
from keras_mtl.selection.task_batches import as_tensors
from keras_mtl.selection.task_batches import task_batches
from keras_mtl.training.task_gradients import part_of_batch

# What a step is given: the batch that it trains on, and one of other data.
PairedBatch = collections.namedtuple("PairedBatch", ["batch", "validation"])


class PairedBatches(DataAdapter):
    """Pairs the batches that `fit` goes through with batches without an end.

    Args:
        adapter: `DataAdapter` of the training data.
        validation: The other data: `(x, y)` or `(x, y, sample_weight)` of
            arrays, or any data set that `fit` takes.
        batch_size: Number of examples in a batch of arrays.
        seed: Integer, of the order of the arrays.
    """

    def __init__(self, adapter, validation, batch_size, seed):
        is_array = isinstance(validation, (tuple, list))
        self._adapter = adapter
        self._data = tuple(validation) if is_array else validation
        self._batch_size = batch_size
        # They go on from epoch to epoch.
        self._batches = task_batches(validation, batch_size, True, seed)

    def _paired(self, iterator):
        for batch in iterator:
            yield PairedBatch(batch, as_tensors(next(self._batches)))

    def get_numpy_iterator(self):
        return self._paired(self._adapter.get_numpy_iterator())

    def get_jax_iterator(self, super_batch=None):
        iterator = self._paired(self._adapter.get_jax_iterator())
        if super_batch is None:
            return iterator
        return in_super_batches(iterator, super_batch)

    def get_torch_dataloader(self):
        return self._paired(self._adapter.get_torch_dataloader())

    def get_tf_dataset(self):
        import tensorflow as tf

        is_array = isinstance(self._data, tuple)
        adapter = get_data_adapter(
            *(self._data if is_array else (self._data,)),
            batch_size=self._batch_size,
            shuffle=is_array,
        )
        validation = adapter.get_tf_dataset()
        return tf.data.Dataset.zip(
            PairedBatch(self._adapter.get_tf_dataset(), validation.repeat())
        )

    @property
    def num_batches(self):
        return self._adapter.num_batches

    @property
    def batch_size(self):
        return self._adapter.batch_size

    @property
    def has_partial_batch(self):
        return self._adapter.has_partial_batch

    @property
    def partial_batch_size(self):
        return self._adapter.partial_batch_size

    def on_epoch_begin(self):
        self._adapter.on_epoch_begin()

    def on_epoch_end(self):
        self._adapter.on_epoch_end()


def batch_to_train_on(data):
    """Returns the batch of training data of what a step is given."""
    return data.batch if isinstance(data, PairedBatch) else data


def batches_to_weigh_by(data):
    """Returns the batches of training and of validation data for the weights.

    Where no validation data were given, they are the halves of the batch.

    Args:
        data: What a step is given.

    Returns:
        Tuple of two batches, `(x, y, sample_weight)`.
    """
    batch = keras.utils.unpack_x_y_sample_weight(batch_to_train_on(data))
    if isinstance(data, PairedBatch):
        return batch, keras.utils.unpack_x_y_sample_weight(data.validation)
    return part_of_batch(batch, 0.5), part_of_batch(batch, 0.5, from_end=True)
