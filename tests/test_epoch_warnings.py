"""Warnings at the end of epochs: once per task, and what to do."""

import warnings

import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl.training.epoch_warnings import EpochWarnings
from keras_mtl.training.epoch_warnings import named_run
from keras_mtl.weightings import get

pytestmark = pytest.mark.any_backend


def warned(weighting, epochs):
    """The messages of epochs, each a pair of dicts of losses and weights."""
    checks = EpochWarnings(get(weighting))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for losses, weights in epochs:
            checks.check(losses, weights)
    return [str(w.message) for w in caught]


def test_each_task_is_named_once():
    nan = float("nan")
    epochs = [
        ({"a": nan, "b": 1.0}, {}),
        ({"a": nan, "b": 1.0}, {}),
        ({"a": nan, "b": nan}, {}),
    ]
    first, second = warned("equal", epochs)
    assert "was not finite, for the tasks: {'a': nan}. A lower" in first
    assert "{'b': nan}" in second
    [message] = warned("scale_invariant", [({"a": -1.0, "b": 1.0}, {})] * 2)
    assert "which the weighting ScaleInvariant gives no weight" in message
    assert "{'a': -1.0}. Add a constant to the loss" in message
    assert not warned("nash_mtl", [({"a": -1.0}, {})])


@pytest.mark.parametrize(
    "weighting, advice",
    [
        ("scale_invariant", r"`floor=0.1` bounds the weight"),
        (["igb_v1", "sum"], r"`floor=0.1` bounds the weight"),
        ("nash_mtl", "`weigh_heads=False` keeps that from"),
        ("excess_mtl", "`weigh_heads=False` keeps that from"),
        ("bandit_mtl", "`loss_weights`"),
    ],
)
def test_a_weight_that_runs_away_is_named_once(weighting, advice):
    losses = {"a": 1.0, "b": 1e-5}
    epochs = [
        (losses, {"a": 1.0, "b": weight}) for weight in (2.0, 1900, 2100, 1e9)
    ]
    [message] = warned(weighting, epochs)
    assert "so many times that of the first one, for the tasks" in message
    assert "{'b': 1050.0}" in message
    assert advice in message


@pytest.mark.parametrize("first, last", [(0.3, -4e5), (-0.3, -4e5)])
def test_a_negative_weight_runs_away_as_well(first, last):
    epochs = [({"a": 1e-5}, {"a": weight}) for weight in (first, last)]
    [message] = warned("cosmos", epochs)
    assert "so many times that of the first one" in message


def test_a_weight_that_was_zero_has_no_growth():
    epochs = [({"a": 1.0}, {"a": 0.0}), ({"a": 1.0}, {"a": 5.0})]
    assert not warned("scale_invariant", epochs)


def test_the_run_is_named():
    with named_run("'igb_v1', seed 3"):
        [message] = warned("equal", [({"a": float("inf")}, {})])
    assert message.startswith("In the run 'igb_v1', seed 3: The mean loss")
    [message] = warned("equal", [({"a": float("inf")}, {})])
    assert message.startswith("The mean loss")


def test_a_benchmark_names_its_runs():
    def build():
        inputs = keras.Input((2,))
        features = keras.layers.Dense(2)(inputs)
        outputs = {name: keras.layers.Dense(1)(features) for name in "ab"}
        return keras_mtl.MultiTaskModel(inputs, outputs)

    x = np.ones((4, 2), "float32")
    y = {"a": x[:, :1], "b": np.full((4, 1), np.inf, "float32")}
    with pytest.warns(UserWarning, match="In the run 'sum', seed 7: The mean"):
        keras_mtl.benchmark(
            build,
            (x, y),
            compile_args={"optimizer": "sgd", "loss": "mse"},
            weightings=["sum"],
            seeds=[7],
            progress=False,
        )


def test_a_training_warns_of_a_weight_that_runs_away():
    inputs = keras.Input((2,))
    features = keras.layers.Dense(2)(inputs)
    outputs = {name: keras.layers.Dense(1)(features) for name in "ab"}
    model = keras_mtl.MultiTaskModel(inputs, outputs)
    x = np.random.default_rng(0).normal(size=(8, 2)).astype("float32")
    predicted = model.predict(x, verbose=0)
    sgd = keras.optimizers.SGD(0.0)
    model.compile(sgd, loss="mse", weighting="scale_invariant")
    first = {"a": predicted["a"] + 1.0, "b": predicted["b"] + 1.0}
    second = {"a": predicted["a"] + 1e-3, "b": predicted["b"] + 1.0}

    class Data(keras.utils.PyDataset):
        labels = first

        def __len__(self):
            return 1

        def __getitem__(self, index):
            return x, self.labels

    class Later(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            data.labels = second

    data = Data()
    message = r"for the tasks: \{'a': .*ScaleInvariant divides by losses"
    with pytest.warns(UserWarning, match=message) as caught:
        model.fit(data, epochs=4, callbacks=[Later()], verbose=0)
    assert len([w for w in caught if "so many times" in str(w.message)]) == 1
