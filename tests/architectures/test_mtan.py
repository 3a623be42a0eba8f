"""MTAN on an encoder of the user's; the SegNet form is in tests/models."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_mtl
from keras_mtl import architectures
from keras_mtl.training.graph import split_of
from tests.models import numpy_layers as expected_layers
from tests.models.numpy_layers import assert_close
from tests.models.numpy_layers import predict
from tests.models.numpy_layers import relu
from tests.models.numpy_layers import sigmoid

TASKS = ["b", "a"]
IMAGE = np.random.default_rng(0).normal(size=(2, 9, 12, 2)).astype("float32")


def convolution(width, name, **kwargs):
    return layers.Conv2D(
        width,
        3,
        padding="same",
        data_format="channels_last",
        name=name,
        **kwargs,
    )


def network(decoder=False):
    """Two levels, of 9 x 12 and of 5 x 4 pixels, of pairs and of one tensor."""
    x = keras.Input((9, 12, 2), name="x")
    first = convolution(3, "first")(x)
    last = convolution(2, "last")(first)
    pool = layers.MaxPooling2D((2, 3), padding="same", name="pool")
    coarse = convolution(4, "coarse")(pool(last))
    up = []
    if decoder:
        large = layers.UpSampling2D((2, 3), data_format="channels_last")(coarse)
        up = [convolution(2, "fine")(large)]
    features = architectures.mtan([(first, last), coarse], TASKS, up)
    outputs = {
        task: layers.GlobalAveragePooling2D(
            data_format="channels_last", name=task
        )(h)
        for task, h in features.items()
    }
    return keras_mtl.MultiTaskModel(x, outputs), features


class Forward(expected_layers.Forward):
    def mask(self, x, name):
        x = self.norm(self.convolve(x, f"{name}_g"), f"{name}_g_norm")
        x = self.norm(self.convolve(relu(x), f"{name}_h"), f"{name}_h_norm")
        return sigmoid(x)

    def outputs(self, x):
        first = self.convolve(x, "first")
        last = self.convolve(first, "last")
        coarse = self.convolve(pool(last), "coarse")
        outputs = {}
        for task in TASKS:
            name = f"mtan_{task}_encoder"
            h = self.mask(first, f"{name}_0") * last
            h = self.convolve(h, "mtan_attention_encoder_0")
            h = pool(relu(self.norm(h, "mtan_attention_encoder_0_norm")))
            h = np.concatenate([coarse, h], axis=-1)
            h = self.mask(h, f"{name}_1") * coarse
            outputs[task] = h.mean(axis=(1, 2))
        return outputs


def pool(x):
    """The maxima of 2 x 3 pixels; the last row of 9 is one of its own."""
    x = np.pad(x, [(0, 0), (0, 1), (0, 0), (0, 0)], constant_values=-np.inf)
    batch, height, width, channels = x.shape
    x = x.reshape((batch, height // 2, 2, width // 3, 3, channels))
    return x.max(axis=(2, 4))


@pytest.mark.quick_on_torch
def test_forward_pass():
    model, _ = network()
    expected_layers.randomize(model)
    expected = Forward(model).outputs(np.float64(IMAGE))
    assert_close(predict(model, IMAGE), expected)


@pytest.mark.any_backend
def test_split():
    model, _ = network()
    split = split_of(model)
    of_heads = {v.path.split("/")[0] for v in split.cross_variables}
    assert of_heads == {
        "mtan_attention_encoder_0",
        "mtan_attention_encoder_0_norm",
    }
    own = {v.path.split("_")[1] for v in split.head_variables["a"]}
    assert own == {"a"}
    assert {*map(tuple, split.boundary.values())} == {("a", "b")}


@pytest.mark.any_backend
def test_decoder():
    model, features = network(decoder=True)
    assert features["a"].shape == (None, 10, 12, 2)
    names = {layer.name for layer in model.layers}
    assert {"mtan_a_decoder_0_g", "mtan_attention_decoder_0"} <= names


@pytest.mark.any_backend
def test_sides_that_are_not_known():
    x = keras.Input((None, None, 1))
    y = layers.MaxPooling2D(data_format="channels_last")(x)
    features = architectures.mtan([x, y], TASKS)
    model = keras.Model(x, features)
    assert model.compute_output_shape((1, 6, 8, 1))["a"] == (1, 3, 4, 1)


@pytest.mark.any_backend
def test_bad_input():
    x = keras.Input((8, 8, 1))
    with pytest.raises(ValueError, match="Expected the levels of `encoder`"):
        architectures.mtan([keras.Input((8,))], TASKS)
    for levels in ({"encoder": x}, {"encoder": [x], "decoder": None}):
        with pytest.raises(ValueError, match="to be a list of levels. Receiv"):
            architectures.mtan(**levels, tasks=TASKS)
    assert list(architectures.mtan(iter([x]), TASKS, iter([]))) == TASKS
    with pytest.raises(ValueError, match="at least one level"):
        architectures.mtan([], TASKS)
    with pytest.raises(ValueError, match=r"Received: \(8, 8\) and then \(5, 5"):
        architectures.mtan([x, keras.Input((5, 5, 1))], TASKS)
    with pytest.raises(ValueError, match=r"Received: \(8, 8\) and then \(16, "):
        architectures.mtan([x, keras.Input((16, 16, 1))], TASKS)
    with pytest.raises(ValueError, match="to be different names"):
        architectures.mtan([x], [])
