"""Batches of training data, each with one of the data that weigh the tasks."""

import collections
import itertools

import keras

from keras_mtl.backend.keras_internals import DataAdapter
from keras_mtl.backend.keras_internals import get_tensor_spec
from keras_mtl.backend.keras_internals import in_super_batches
from keras_mtl.backend.keras_internals import is_tf_dataset
from keras_mtl.selection.task_batches import as_tensors
from keras_mtl.selection.task_batches import task_batches
from keras_mtl.training.task_gradients import part_of_batch

# What a step is given: the batch that it trains on, and one of other data.
PairedBatch = collections.namedtuple("PairedBatch", ["batch", "validation"])

# In how many batches the dimensions are looked for that differ, as by Keras.
LOOKED_AT = 2


class PairedBatches(DataAdapter):
    """Pairs the batches that `fit` goes through with batches without an end.

    Args:
        adapter: `DataAdapter` of the training data.
        validation: The other data: `(x, y)` or `(x, y, sample_weight)` of
            arrays, or any data set that `fit` takes.
        batch_size: Number of examples in a batch of arrays.
        seed: Integer, of the order of the arrays.
        steps: Number of steps in an epoch, `None` if it is not known.
        set_epoch: Function that the training data have for the number of an
            epoch, or `None`.
    """

    def __init__(
        self, adapter, validation, batch_size, seed, steps=None, set_epoch=None
    ):
        self._adapter = adapter
        self._data = validation
        self._batch_size = batch_size
        self._seed = seed
        self._steps = steps
        self._set_epoch = set_epoch
        self._has_begun = False
        self._looked_at = collections.deque()
        # They go on from epoch to epoch.
        self._batches = task_batches(validation, batch_size, True, seed)

    def set_epoch(self, epoch):
        """Lets a training that is resumed go on with the batches it left."""
        if self._set_epoch is not None:
            self._set_epoch(epoch)
        if not self._has_begun and self._steps is not None:
            self._looked_at.clear()
            self._batches.seek(epoch * self._steps, self._seed)
        self._has_begun = True

    def _next_batch(self):
        if self._looked_at:
            return self._looked_at.popleft()
        return as_tensors(next(self._batches))

    def _of_one_pass(self):
        # TensorFlow reads ahead, and what it does not use would be lost.
        count = self._adapter.num_batches
        for _ in itertools.count() if count is None else range(count):
            yield without_none(self._next_batch())

    def _signature(self):
        """Returns what TensorFlow is told of the batches."""
        if is_tf_dataset(self._data):
            return self._data.element_spec
        self._looked_at.extend([self._next_batch() for _ in range(LOOKED_AT)])
        return get_tensor_spec([without_none(x) for x in self._looked_at])

    def _paired(self, iterator):
        for batch in iterator:
            yield PairedBatch(batch, self._next_batch())

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

        # A data set of TensorFlow would begin anew in each epoch.
        validation = tf.data.Dataset.from_generator(
            self._of_one_pass, output_signature=self._signature()
        )
        return tf.data.Dataset.zip(
            PairedBatch(self._adapter.get_tf_dataset(), validation)
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


def without_none(batch):
    """Returns a batch without what is `None` at its end."""
    while batch[-1] is None:
        batch = batch[:-1]
    return batch


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
