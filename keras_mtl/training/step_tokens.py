from keras_mtl.backend.keras_internals import DataAdapter


class StepTokens(DataAdapter):
    """Counts the steps for `fit`; their data come from the sampler itself.

    An iterator that `fit` prefetches would choose tasks before the losses on
    which the choice depends.
    """

    def __init__(self, num_batches):
        self._num_batches = num_batches

    def __iter__(self):
        while True:
            yield ()

    get_numpy_iterator = __iter__

    def get_jax_iterator(self, super_batch=None):
        # Since 3.16, Keras asks for several steps at once, which are chosen one
        # after the other here.
        return iter(self)

    def get_tf_dataset(self):
        return self

    def get_torch_dataloader(self):
        return iter(self)

    @property
    def num_batches(self):
        return self._num_batches

    @property
    def batch_size(self):
        return None

    @property
    def has_partial_batch(self):
        return None

    @property
    def partial_batch_size(self):
        return None
