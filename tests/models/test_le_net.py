"""The network against NumPy, and its known number of parameters."""

import keras
import numpy as np
import pytest

from keras_mtl.models import le_net
from tests.models import numpy_layers as expected_layers
from tests.models.numpy_layers import assert_close
from tests.models.numpy_layers import predict
from tests.models.numpy_layers import relu


def pooled(x):
    batch, height, width, channels = x.shape
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).max((2, 4))


def convolve(model, x, name, margin):
    """A convolution without a margin is the inner part of one that has it."""
    x = expected_layers.convolve(x, *expected_layers.weights(model, name))
    return x[:, margin:-margin, margin:-margin]


def dense(model, x, name):
    kernel, bias = expected_layers.weights(model, name)
    return x @ kernel + bias


def forward(model, x):
    x = relu(pooled(convolve(model, x, "convolution_1", 2)))
    x = relu(pooled(convolve(model, x, "convolution_2", 2)))
    features = relu(dense(model, x.reshape(len(x), -1), "features"))
    outputs = {}
    for task in ("left", "right"):
        hidden = relu(dense(model, features, f"{task}_hidden"))
        logits = dense(model, hidden, task)
        outputs[task] = expected_layers.softmax(logits)
    return outputs


@pytest.mark.quick_on_torch
def test_forward_pass():
    model = keras.Model(*le_net())
    expected_layers.randomize(model, scale=0.1)
    image = np.random.default_rng(0).random((3, 28, 28, 1)).astype("float32")
    assert_close(predict(model, image), forward(model, np.float64(image)))


@pytest.mark.any_backend
def test_numbers_of_parameters():
    """Those of the official codes of MGDA and of Pareto MTL."""
    convolutions = (25 * 1 + 1) * 10 + (25 * 10 + 1) * 20
    shared = convolutions + (320 + 1) * 50
    head = (50 + 1) * 50 + (50 + 1) * 10
    model = keras.Model(*le_net())
    assert model.count_params() == shared + 2 * head == 27450
    features = model.get_layer("features").output
    assert keras.Model(model.input, features).count_params() == shared == 21330

    larger = le_net(
        shape=(36, 36, 1), kernels=(9, 5), head_units=None, dropout=0.0
    )
    convolutions = (81 * 1 + 1) * 10 + (25 * 10 + 1) * 20
    expected = convolutions + (500 + 1) * 50 + 2 * (50 + 1) * 10
    assert keras.Model(*larger).count_params() == expected
