"""`fit` with tasks that differ in the kind of their data, and of their loss."""

import functools

import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl.selection import TaskSampler
from tests import test_training as training
from tests import utils

RNG = np.random.default_rng(7)
SIZE, BATCH = 24, 8
X = RNG.normal(size=(SIZE, training.FEATURES)).astype("float32")
DATA = {
    "a": (X, RNG.normal(size=(SIZE, 1)).astype("float32")),
    "b": (X[::-1].copy(), RNG.integers(0, 3, SIZE)),
    "c": (2 * X, RNG.normal(size=SIZE).astype("float32")),
}


class Batches(keras.utils.PyDataset):
    def __init__(self, x, y, **kwargs):
        super().__init__(**kwargs)
        self.x, self.y = x, y

    def __len__(self):
        return len(self.y) // BATCH

    def __getitem__(self, index):
        part = slice(BATCH * index, BATCH * index + BATCH)
        return self.x[part], self.y[part]


def kinds_of_data():
    tf = pytest.importorskip("tensorflow")
    return {
        "a": tf.data.Dataset.from_tensor_slices(DATA["a"]).batch(BATCH),
        "b": DATA["b"],
        "c": Batches(*DATA["c"]),
    }


def train(data, workers):
    model = training.small_model(keras_mtl.MultiTaskModel)
    model.compile(
        keras.optimizers.Adam(0.05),
        training.LOSS,
        metrics={"b": "acc"},
        **utils.COMPILED,
    )
    sampler = TaskSampler(
        data,
        keras_mtl.selection.Exp3S(eta=0.1, seed=0),
        batch_size=BATCH,
        shuffle=False,
        seed=3,
        workers=workers,
    )
    history = model.fit(
        sampler, epochs=3, validation_data=data, verbose=0
    ).history
    return history, sampler.log, model.get_weights()


@pytest.mark.quick_on_torch
@pytest.mark.parametrize("workers", [1, 3])
def test_kinds_of_data_train_the_same(workers):
    # Each choice depends on all rewards before. Those are small differences of
    # losses, of which XLA rounds some in another way.
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    expected, expected_log, expected_weights = train(DATA, 1)
    history, log, weights = train(kinds_of_data(), workers)
    assert history.keys() == expected.keys()
    assert {"val_a_loss", "val_b_acc", "val_loss", "share/c"} < history.keys()
    for key, values in expected.items():
        close(history[key], values, err_msg=key)
    for key, values in expected_log.get_state().items():
        close(log.get_state()[key], values, err_msg=key)
    for found, values in zip(weights, expected_weights):
        close(found, values)
    assert len(log) == 27 and set(log.task_indices) == {0, 1, 2}
