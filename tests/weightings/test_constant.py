import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl.weightings import Constant

pytestmark = pytest.mark.quick_on_torch

LOSSES = np.array([0.5, 2.0, 0.0], "float32")


@pytest.mark.every_backend
def test_weights_are_the_values_whatever_the_losses():
    weighting = Constant(np.array([1.0, 0.25, 3.0]))
    for scale in (1.0, 0.0, 1e16):
        np.testing.assert_array_equal(
            np.array(weighting(LOSSES * scale)), [1.0, 0.25, 3.0]
        )


def test_without_values_it_is_equal():
    np.testing.assert_array_equal(np.array(Constant()(LOSSES)), 1.0)


def test_trains_as_loss_weights():
    x = np.random.default_rng(0).normal(size=(8, 2)).astype("float32")
    y = {"a": x[:, :1], "b": 3 * x[:, 1:]}

    def train(**kwargs):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((2,))
        features = keras.layers.Dense(3)(inputs)
        outputs = {name: keras.layers.Dense(1)(features) for name in "ab"}
        model = keras_mtl.MultiTaskModel(inputs, outputs)
        model.compile("sgd", loss={"b": "mse", "a": "mse"}, **kwargs)
        model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0)
        return model.get_weights()

    expected = train(loss_weights=[2.0, 0.25])
    for weighting in (Constant([0.25, 2.0]), {"a": 2, "b": 0.25}):
        for value, target in zip(train(weighting=weighting), expected):
            np.testing.assert_allclose(value, target, atol=1e-6)


def test_keeps_its_values_in_its_config():
    weighting = Constant([1, 0.25])
    config = keras.saving.serialize_keras_object(weighting)
    again = keras.saving.deserialize_keras_object(config)
    assert list(again.values) == [1.0, 0.25]
    named = keras_mtl.weightings.get({"b": 2, "a": 0.5})
    config = keras.saving.serialize_keras_object(named)
    again = keras_mtl.weightings.get(config)
    assert again.values == {"b": 2.0, "a": 0.5}
    again.name_tasks(["a", "b"])
    np.testing.assert_array_equal(np.array(again(LOSSES[:2])), [0.5, 2.0])


def test_a_dict_is_read_by_the_names_of_the_tasks():
    chain = keras_mtl.weightings.get([{"b": 2.0, "a": 0.5}, "sum"])
    chain.name_tasks(["a", "b"])
    weights = np.array(chain(LOSSES[:2], np.eye(2, dtype="float32")))
    np.testing.assert_array_equal(weights, [0.5, 2.0])
    inputs = keras.Input((2,))
    outputs = {name: keras.layers.Dense(1)(inputs) for name in "ab"}
    model = keras_mtl.MultiTaskModel(inputs, outputs)
    for values in ({"a": 1.0}, {"a": 1.0, "c": 1.0}):
        with pytest.raises(ValueError, match=r"\['a', 'b'\]. Received: value"):
            model.compile("sgd", loss="mse", weighting=values)


def test_names_bad_values():
    with pytest.raises(ValueError, match=r"3 tasks. Received: values=\[1.0,"):
        Constant([1.0, 2.0])(LOSSES)
    for values in ({}, {"a": "1"}, 2.0, "equal", [1.0, np.nan]):
        with pytest.raises(ValueError, match="in the order of the tasks"):
            Constant(values)
