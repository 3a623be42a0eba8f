"""What is wrong is said, in words that help."""

import os
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

import keras_mtl
from keras_mtl import weightings
from tests import utils

pytestmark = pytest.mark.once

X = np.zeros((4, 3), "float32")
Y = {"a": np.zeros((4, 1), "float32"), "b": np.zeros((4, 2), "float32")}


def graph():
    x = keras.Input((3,))
    h = layers.Dense(4, name="trunk")(x)
    a = layers.Dense(1, name="head_a")(h)
    return x, {"a": a, "b": layers.Dense(2, name="head_b")(h)}


def make_model():
    return keras_mtl.MultiTaskModel(*graph())


def compiled(**kwargs):
    model = make_model()
    model.compile(**{"loss": {"a": "mse", "b": "mse"}, **utils.EAGER, **kwargs})
    return model


def raises(text, error=ValueError):
    return pytest.raises(error, match=".*".join(map(re.escape, text)))


@pytest.mark.parametrize(
    "options, text",
    [
        (
            {"weighting": "nash_mlt"},
            ["Unknown weighting: 'nash_mlt'. Did you mean 'nash_mtl'", "Known"],
        ),
        (
            {"weighting": 3},
            ["Expected a weighting to be a name", "Received: 3"],
        ),
        (
            {"weighting": ["nash_mtl", "igb_v1"]},
            ["Expected a chain of loss-balancing methods", "['NashMTL', 'IGB"],
        ),
        (
            {"loss": {"a": "mse", "b": "mse", "c": "mse"}},
            ["`loss` has keys that are no output: ['c']", "['a', 'b']"],
        ),
        (
            {"loss": {"a": "mse"}},
            ["two or more tasks", "Received: ['a']. Use keras.Model"],
        ),
        ({"loss": None}, ["one loss per output", "['a', 'b']", "loss=None"]),
        ({"loss": ["mse"]}, ["`loss`", "one entry per output", "1 values"]),
        (
            {"loss": {"a": "mse", "b": ["mse", "mae"]}},
            ["one loss for the task 'b'", "['mse', 'mae']"],
        ),
        (
            {"loss": {"a": "mse", "b": None}},
            ["two or more tasks", "Received: ['a']. Use keras.Model"],
        ),
        (
            {"loss_weights": {"a": 1.0, "depth": 2.0}},
            ["`loss_weights` has keys that are no output: ['depth']"],
        ),
        ({"loss_weights": [1.0]}, ["`loss_weights`", "one entry per output"]),
        ({"loss_weights": 2.0}, ["`loss_weights`", "Received: 2.0"]),
        (
            {"loss_weights": {"a": "big", "b": 1.0}},
            ["entry of `loss_weights` for 'a' to be a number", "big"],
        ),
        (
            {"weighting": weightings.Sum(shared=["encoder"])},
            ["a layer that the model does not have", "'encoder'", "'trunk'"],
        ),
        (
            {"weighting": weightings.Sum(shared=["head_a"])},
            ["the layer 'head_a', which has no trainable variable that two"],
        ),
    ],
    ids=str,
)
def test_compile(options, text):
    with raises(text):
        compiled(**options)


def test_a_loss_weight_that_is_a_variable():
    with raises(["`loss_weights` for 'b' to be a number"]):
        compiled(loss_weights={"b": keras.Variable(1.0)})


def test_nothing_is_shared():
    x = keras.Input((3,))
    outputs = {t: layers.Dense(1)(layers.Dense(2)(x)) for t in "ab"}
    model = keras_mtl.MultiTaskModel(x, outputs)
    with raises(
        ["NashMTL balances the gradients of variables that tasks share"]
    ):
        model.compile(loss="mse", weighting="nash_mtl")
    model.compile(loss="mse", weighting="igb_v1")


def test_features_without_a_trunk():
    x = keras.Input((3,))
    of_both = layers.Dense(2)
    outputs = {t: layers.Dense(1)(of_both(layers.Dense(3)(x))) for t in "ab"}
    model = keras_mtl.MultiTaskModel(x, outputs)
    features = weightings.Sum(gradients="features")
    with raises(['gradients="features" needs a trunk that ends']):
        model.compile(loss="mse", weighting=features)


def test_a_weighting_of_another_number_of_tasks():
    igb = weightings.IGBv1()
    igb(np.ones(3))
    with raises(["Expected a weighting for the 2 tasks ['a', 'b']", "3 tasks"]):
        compiled(weighting=igb)
    model = compiled()
    with raises(["Expected a weighting for the 2 tasks"]):
        model.fit(X, Y, weighting=igb, verbose=0)
    with raises(["Unknown weighting: 'nope'"]):
        model.fit(X, Y, weighting="nope", verbose=0)
    assert isinstance(model.weighting, weightings.Equal)
    model.fit(X, Y, verbose=0)


def test_models_that_are_not_functional():
    text = ["MultiTaskModel is made from the inputs and outputs of a Func"]
    with raises(text):
        keras_mtl.MultiTaskModel()
    with raises(text):
        keras_mtl.MultiTaskModel(X, Y)

    class Subclassed(keras_mtl.MultiTaskModel):
        def __init__(self):
            super().__init__()

        def call(self, x):
            return x

    with raises(text):
        Subclassed()


def test_outputs_that_have_no_names_of_their_own():
    x, outputs = graph()
    a, b = outputs.values()
    text = ["Expected `outputs` to be a flat dict, or a list of tensors of dif"]
    with raises(text):
        keras_mtl.MultiTaskModel(x, {"tasks": {"a": a, "b": b}, "c": a})
    with raises(text):
        keras_mtl.MultiTaskModel(x, [a, a])
    with raises(text):
        keras_mtl.MultiTaskModel(x, [a, [b]])


def test_one_output():
    x, outputs = graph()
    model = keras_mtl.MultiTaskModel(x, outputs["a"])
    with raises(["two or more tasks", "Received: ['head_a']"]):
        model.compile(loss="mse")


@pytest.mark.parametrize("weighting", ["equal", "sum"])
@pytest.mark.parametrize(
    "y, text",
    [
        ({"a": Y["a"]}, ["labels for all tasks: ['a', 'b']. Missing: ['b']"]),
        ({**Y, "z": Y["a"]}, ["`y` has keys that are no output: ['z']", "'b'"]),
        ([Y["a"]], ["labels", "one entry per output", "1 values"]),
        (Y["a"], ["Expected labels to be a dict or list", "4, 1"]),
        (None, ["Expected labels to be a dict or list", "None"]),
    ],
    ids=["dict", "unknown", "list", "array", "none"],
)
def test_labels(weighting, y, text):
    with raises(text):
        compiled(weighting=weighting).train_on_batch(X, y)


def test_sample_weights_of_no_output():
    with raises(["`sample_weight` has keys that are no output: ['c']"]):
        weight = {"a": np.ones(4), "c": np.ones(4)}
        compiled().train_on_batch(X, Y, weight)


def test_metrics_of_an_output_without_labels():
    x, outputs = graph()
    outputs["c"] = layers.Dense(1)(outputs["a"])
    model = keras_mtl.MultiTaskModel(x, outputs)
    loss = {"a": "mse", "b": "mse", "c": None}
    model.compile(loss=loss, metrics={"c": "mae"}, **utils.EAGER)
    with raises(["Expected labels for the output 'c', which has metrics"]):
        model.train_on_batch(X, Y)
    logs = model.train_on_batch(
        X, {**Y, "c": np.ones((4, 1), "float32")}, return_dict=True
    )
    assert logs["c_mae"] > 0


@pytest.mark.parametrize("weighting", ["equal", "sum"])
@pytest.mark.parametrize("labels", ["float32", "int32"])
def test_a_loss_that_returns_a_vector(weighting, labels):
    loss = keras.losses.MeanSquaredError(reduction=None)
    model = compiled(loss={"a": "mse", "b": loss}, weighting=weighting)
    text = ["the loss of task 'b' to be a scalar", "needs a reduction", "(4,)"]
    with raises(text):
        model.train_on_batch(X, {**Y, "b": Y["b"].astype(labels)})


def test_what_a_weighting_is_called_with():
    equal, total = weightings.Equal(), weightings.Sum()
    with raises(["`losses` of shape (T,)", "losses.shape=(2, 1)"]):
        equal(np.ones((2, 1)))
    equal(np.ones(3))
    with raises(["Expected `losses` of shape (3,)", "losses.shape=(2,)"]):
        equal(np.ones(2))
    with raises(["Expected `gramian` of shape (2, 2)", "gramian.shape=None"]):
        total(np.ones(2))
    with raises(["Expected `gramian` of shape (2, 2)", "=(2, 3)"]):
        weightings.Sum()(np.ones(2), np.ones((2, 3)))


@pytest.mark.parametrize(
    "options, text",
    [
        ({"gradients": "all"}, ['"parameters" or "features"', "'all'"]),
        ({"update_every": 0}, ["`update_every` to be a positive", "=0"]),
        (
            {"max_norm": -1.0},
            ["`max_norm` to be positive and finite or None", "=-1.0"],
        ),
        (
            {"gradients": "features", "shared": ["x"]},
            ["`shared` names the layers", "shared=['x']"],
        ),
    ],
    ids=str,
)
def test_arguments_of_gradient_balancing(options, text):
    with raises(text):
        weightings.Sum(**options)


@pytest.mark.parametrize("value", [-1.0, np.nan])
@pytest.mark.parametrize(
    "cls, name",
    [
        (weightings.Uncertainty, "learning_rate"),
        (weightings.FAMO, "gamma"),
        (weightings.FAMO, "learning_rate"),
        (weightings.GradNorm, "alpha"),
        (weightings.GradNorm, "learning_rate"),
        (weightings.SDMGrad, "momentum"),
        (weightings.IGBv2, "discount"),
        (weightings.IGBv2, "buffer_size"),
        (weightings.IGBv2, "update_every"),
        (weightings.IGBv2, "logit_bound"),
    ],
)
def test_numbers_out_of_range(cls, name, value):
    with raises([f"`{name}`", "Received: ", name, str(value)]):
        cls(**{name: value})


def numeric_arguments():
    """Lists the methods' arguments that are numbers."""
    for method in weightings.names():
        config = weightings.get(method).get_config()
        for name, value in config.items():
            if name.startswith("learning_rate") or (
                isinstance(value, (int, float)) and not isinstance(value, bool)
            ):
                yield method, name


@pytest.mark.parametrize("value", [np.inf, np.nan])
@pytest.mark.parametrize("method, name", [*numeric_arguments()])
def test_numbers_that_are_not_finite(method, name, value):
    cls = type(weightings.get(method))
    with raises([f"`{name}`", "Received: ", str(value)]):
        cls(**{name: value})


def test_smallest_losses_that_are_not_finite():
    for value in (np.nan, [0.0, np.inf]):
        with raises(["`min_losses` to be finite", "Received: min_losses"]):
            weightings.FAMO(min_losses=value)


@pytest.mark.parametrize("cls", [weightings.NashMTL, weightings.MGDA])
def test_gradient_balancing_of_logarithms(cls):
    with raises(["`scale_invariant` is for loss balancing", f"{cls.__name__}"]):
        cls(scale_invariant=True)


@pytest.mark.slow
@pytest.mark.any_backend
def test_a_backend_that_does_not_train():
    code = "import keras_mtl"
    env = {**os.environ, "KERAS_BACKEND": "numpy"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True
    )
    assert "keras_mtl trains on the Keras backends tensorflow" in done.stderr
    assert "Received: 'numpy'" in done.stderr
