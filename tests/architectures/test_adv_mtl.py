"""AdvMTL on an encoder of the user's; its losses are in tests/models."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_mtl
from keras_mtl import architectures
from keras_mtl.training.graph import split_of
from keras_mtl.training.parameters_by_task import parameters_by_task
from tests.architectures.networks import expert
from tests.models import numpy_layers
from tests.models.numpy_layers import assert_close
from tests.models.numpy_layers import predict
from tests.models.numpy_layers import relu

TASKS = ["b", "a"]


def inputs():
    task = keras.Input((1,), dtype="int32", name="task")
    return {"x": keras.Input((4,), name="x"), "task": task}


def model_of():
    x = inputs()
    features = architectures.adv_mtl(
        x["x"],
        x["task"],
        TASKS,
        expert,
        lambda name: layers.Dense(2, "relu", name=name),
    )
    outputs = {t: layers.Dense(1, name=t)(h) for t, h in features.items()}
    return keras_mtl.MultiTaskModel(x, outputs)


@pytest.mark.quick_on_torch
def test_forward_pass():
    model = model_of()
    numpy_layers.randomize(model)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 4)).astype("float32")
    found = predict(model, {"x": x, "task": np.zeros((3, 1), "int32")})

    def dense(name, x):
        kernel, bias = numpy_layers.weights(model, name)
        return x @ kernel + bias

    shared = relu(dense("adv_mtl_expert", np.float64(x)))
    expected = {
        task: dense(
            task, np.hstack([shared, relu(dense(f"adv_mtl_{task}", x))])
        )
        for task in TASKS
    }
    assert_close(found, expected)


@pytest.mark.any_backend
def test_shared_and_own_parameters():
    model = model_of()
    rows = parameters_by_task(split_of(model), model.weights)
    own = (4 * 2 + 2) + (5 + 1)
    classifier = 3 * 2 + 2
    assert [row.trained for row in rows[:3]] == [15 + classifier, own, own]


@pytest.mark.any_backend
def test_bad_input():
    x = inputs()
    args = x["x"], x["task"], TASKS
    with pytest.raises(ValueError, match="'adv_mtl_expert' to return a vector"):
        architectures.adv_mtl(*args, lambda name: layers.Reshape((2, 2)))
    with pytest.raises(ValueError, match="make a new layer each time"):
        dense = layers.Dense(3)
        architectures.adv_mtl(*args, lambda name: dense)
    with pytest.raises(ValueError, match="make a new layer each time"):
        one = ["a"]
        architectures.adv_mtl(
            x["x"], x["task"], one, lambda name: dense, lambda name: dense
        )
    with pytest.raises(ValueError, match="Expected `task` to be a tensor"):
        architectures.adv_mtl(x["x"], 0, TASKS, expert)
    with pytest.raises(ValueError, match="to be different names"):
        architectures.adv_mtl(x["x"], x["task"], ["a", "a"], expert)


@pytest.mark.any_backend
@pytest.mark.parametrize("shape", [(), (2,), (1, 1)])
def test_task_of_another_shape(shape):
    x, task = layers.Input((4,)), layers.Input(shape, dtype="int32")
    message = r"shape \(batch, 1\), as `keras.Input.*Received: task of shape"
    with pytest.raises(ValueError, match=message):
        architectures.adv_mtl(x, task, TASKS, expert)
    with pytest.raises(ValueError, match=message):
        architectures.Orthogonality(0)(x, x, task)
