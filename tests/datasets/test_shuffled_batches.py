import keras
import numpy as np
import pytest
from keras import layers

import keras_mtl
from keras_mtl.datasets import ShuffledBatches
from tests import utils

RNG = np.random.default_rng(2)
X = RNG.normal(size=(10, 2)).astype("float32")
Y = {"a": X[:, :1], "b": X[:, 1:] ** 2}
WEIGHT = {
    "a": np.arange(10, dtype="float32"),
    "b": np.ones(10, "float32"),
}


def make_model():
    keras.utils.set_random_seed(0)
    x = keras.Input((2,))
    h = layers.Dense(3, activation="tanh")(x)
    model = keras_mtl.MultiTaskModel(
        x, {task: layers.Dense(1, name=task)(h) for task in Y}
    )
    model.compile("adam", {task: "mse" for task in Y}, **utils.EAGER)
    return model


def batches(**kwargs):
    return ShuffledBatches(X, Y, **{"batch_size": 4, "seed": 3, **kwargs})


def examples(data):
    """The indices of the examples of an epoch, batch by batch."""
    return [
        [int(np.flatnonzero(X[:, 0] == value)[0]) for value in data[i][0][:, 0]]
        for i in range(len(data))
    ]


def test_each_epoch_has_all_examples_in_an_order_of_its_own():
    orders = []
    for seed in (3, 4):
        data = batches(seed=seed)
        for epoch in (0, 1, 2):
            data.set_epoch(epoch)
            assert [len(batch) for batch in examples(data)] == [4, 4, 2]
            orders.append(sum(examples(data), []))
    for order in orders:
        assert sorted(order) == list(range(10))
    assert len(set(map(tuple, orders))) == 6
    data = batches()
    data.set_epoch(2)
    assert sum(examples(data), []) == orders[2]
    data.set_epoch(0)
    assert sum(examples(data), []) == orders[0]


def test_batches_have_the_structure_of_the_data():
    data = ShuffledBatches({"u": X, "v": [X, 2 * X]}, Y, WEIGHT, batch_size=3)
    x, y, weight = data[1]
    np.testing.assert_array_equal(x["v"][1], 2 * x["u"])
    np.testing.assert_array_equal(y["a"], x["u"][:, :1])
    rows = weight["a"].astype(int)
    np.testing.assert_array_equal(X[rows], x["u"])


def weights_after(data, epochs, sample_weight=None):
    """Trains on explicit batches, in the order of `data`."""
    model = make_model()
    for epoch in range(epochs):
        data.set_epoch(epoch)
        for rows in examples(data):
            y = {task: values[rows] for task, values in Y.items()}
            weight = sample_weight and {
                task: values[rows] for task, values in sample_weight.items()
            }
            model.train_on_batch(X[rows], y, weight)
    return model.get_weights()


@pytest.mark.quick_on_torch
@pytest.mark.parametrize("sample_weight", [None, WEIGHT])
def test_fit_takes_them_in_this_order(sample_weight):
    expected = weights_after(batches(), 3, sample_weight)
    model = make_model()
    data = batches(sample_weight=sample_weight)
    # What Keras would shuffle is in its order already.
    model.fit(data, epochs=2, verbose=0, shuffle=True)
    again = batches(sample_weight=sample_weight)
    model.fit(again, initial_epoch=2, epochs=3, verbose=0)
    for new, old in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_allclose(new, old, 1e-5, 1e-6)


@pytest.mark.quick_on_torch
def test_missing_labels():
    y = {**Y, "b": np.where(X[:, 1:] > 0, np.float32("nan"), Y["b"])}
    model = make_model()
    data = ShuffledBatches(X, y, batch_size=4)
    history = model.fit(data, epochs=2, verbose=0).history
    assert np.all(np.isfinite(history["b_loss"]))


def test_any_data_with_set_epoch_is_told_the_epoch():
    told = []

    class Data(keras.utils.PyDataset):
        num_batches = 1

        def set_epoch(self, epoch):
            told.append(epoch)

        def __getitem__(self, index):
            return X, Y

    model = make_model()
    model.fit(Data(), initial_epoch=1, epochs=3, verbose=0)
    model.fit(X, Y, verbose=0)
    assert told == [1, 2]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"batch_size": 0}, "`batch_size` to be an integer of 1.*Received"),
        ({"batch_size": 1.5}, "`batch_size` to be an integer of 1.*Received"),
        ({"seed": -1}, "`seed` to be an integer of 0 or more. Received: seed"),
        ({"x": range(10)}, r"to be arrays. Received: \['range', 'dict'\]"),
        ({"x": X[:3]}, "Data cardinality is ambiguous"),
        (
            {"x": X[:0], "y": {t: y[:0] for t, y in Y.items()}},
            "at least one example. Received: none",
        ),
    ],
)
def test_errors(change, message):
    with pytest.raises(ValueError, match=message):
        ShuffledBatches(**{"x": X, "y": Y, **change})


def test_steps_per_epoch():
    with pytest.raises(ValueError, match="Received: steps_per_epoch=2"):
        make_model().fit(batches(), steps_per_epoch=2)


@pytest.mark.any_backend
def test_several_workers_are_refused():
    data = batches()
    for name, value in (("workers", 2), ("use_multiprocessing", True)):
        match = f"one worker in this process.*Received: {name}={value}"
        with pytest.raises(ValueError, match=match):
            setattr(data, name, value)
    data.workers, data.use_multiprocessing = 0, False
    assert not data.workers and not data.use_multiprocessing
