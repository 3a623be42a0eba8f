"""SegNet and MTAN against NumPy, and their numbers of parameters."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl
from keras_mtl.models import mtan_seg_net
from keras_mtl.models import scene_losses
from keras_mtl.models import seg_net
from keras_mtl.models.unit_vector import UnitVector
from tests.models import numpy_layers as expected_layers
from tests.models.numpy_layers import assert_close
from tests.models.numpy_layers import gradient_of
from tests.models.numpy_layers import predict
from tests.models.numpy_layers import relu
from tests.models.numpy_layers import sigmoid

pytestmark = pytest.mark.quick_on_torch

WIDTHS = (2, 3, 3)
SHAPE = (16, 8, 3)
IMAGE = np.random.default_rng(0).normal(size=(2, *SHAPE)).astype("float32")


def network(build, **kwargs):
    return build(shape=SHAPE, widths=WIDTHS, classes=4, **kwargs)


class Forward(expected_layers.Forward):
    """The forward passes, with the places of the maxima as one flat index."""

    def block(self, x, name):
        return relu(self.norm(self.convolve(x, name), f"{name}_norm"))

    def encoder(self, x):
        levels = []
        for i, depth in enumerate((2, 2, 3)):
            first = x = self.block(x, f"encoder_{i}_0")
            for j in range(1, depth):
                x = self.block(x, f"encoder_{i}_{j}")
            pooled, index = pool(x)
            levels.append((first, x, index))
            x = pooled
        return levels, x

    def decoder(self, x, levels):
        result = []
        for i, depth in ((2, 3), (1, 2), (0, 2)):
            unpooled = x = unpool(x, levels[i][2])
            for j in range(depth):
                x = self.block(x, f"decoder_{i}_{j}")
            result.append((unpooled, x))
        return result

    def head(self, x, task):
        x = self.convolve(x, f"{task}_hidden")
        if task != "normal":
            return self.convolve(x, task)
        x = self.convolve(x, "normal_vector")
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    def mask(self, x, name):
        x = self.norm(self.convolve(x, f"{name}_g"), f"{name}_g_norm")
        x = self.norm(self.convolve(relu(x), f"{name}_h"), f"{name}_h_norm")
        return sigmoid(x)

    def seg_net(self, image):
        levels, x = self.encoder(image)
        _, x = self.decoder(x, levels)[-1]
        return {task: self.head(x, task) for task in self.model.output}

    def mtan(self, image):
        down, x = self.encoder(image)
        up = self.decoder(x, down)
        outputs = {}
        for task in self.model.output:
            x = None
            for i, (first, last, _) in enumerate(down):
                x = first if i == 0 else np.concatenate([first, x], -1)
                x = self.mask(x, f"{task}_encoder_{i}") * last
                x, _ = pool(self.block(x, f"attention_encoder_{i}"))
            for i, (unpooled, last) in zip((2, 1, 0), up):
                x = self.block(enlarge(x), f"attention_decoder_{i}")
                x = np.concatenate([unpooled, x], -1)
                x = self.mask(x, f"{task}_decoder_{i}") * last
            outputs[task] = self.head(x, task)
        return outputs


def pool(x):
    """The maxima, and their places in an image, as `torch.nn.MaxPool2d`."""
    batch, height, width, channels = x.shape
    values = np.zeros((batch, height // 2, width // 2, channels))
    index = np.zeros(values.shape, int)
    for b, i, j, c in np.ndindex(*values.shape):
        square = x[b, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2, c]
        row, column = np.unravel_index(np.argmax(square), (2, 2))
        values[b, i, j, c] = square[row, column]
        index[b, i, j, c] = (2 * i + row) * width + 2 * j + column
    return values, index


def unpool(x, index):
    batch, height, width, channels = x.shape
    result = np.zeros((batch, 4 * height * width, channels))
    for b, i, j, c in np.ndindex(*x.shape):
        result[b, index[b, i, j, c], c] = x[b, i, j, c]
    return result.reshape((batch, 2 * height, 2 * width, channels))


def enlarge(x):
    """Linear in both directions: three quarters of the nearest pixel."""
    for axis in (1, 2):
        size = x.shape[axis]
        before = np.take(x, np.maximum(np.arange(size) - 1, 0), axis)
        after = np.take(x, np.minimum(np.arange(size) + 1, size - 1), axis)
        pair = [0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after]
        shape = (*x.shape[:axis], 2 * size, *x.shape[axis + 1 :])
        x = np.stack(pair, axis=axis + 1).reshape(shape)
    return x


@pytest.mark.parametrize("build", [seg_net, mtan_seg_net])
def test_forward_pass(build):
    model = keras.Model(*network(build, tasks=["segmentation", "normal"]))
    expected_layers.randomize(model, scale=0.3)
    forward = Forward(model)
    passes = {seg_net: forward.seg_net, mtan_seg_net: forward.mtan}
    expected = passes[build](np.float64(IMAGE))
    assert expected["segmentation"].shape == (2, 16, 8, 4)
    assert_close(predict(model, IMAGE), expected, rtol=1e-3)


def test_file(tmp_path):
    model = keras.Model(*network(seg_net, tasks=["depth"]))
    loaded = expected_layers.saved_and_loaded(model, tmp_path)
    assert_close(predict(loaded, IMAGE), predict(model, IMAGE))


def conv(inputs, outputs, size):
    """A convolution with its bias."""
    return (inputs * size**2 + 1) * outputs


@pytest.mark.slow
@pytest.mark.any_backend
def test_numbers_of_parameters():
    """That of the code of MTAN for one task is a constant in that code."""
    model = keras.Model(*seg_net(["segmentation"]))
    assert trained(model) == 24_981_069
    heads = sum(conv(64, 64, 3) + conv(64, n, 1) for n in (1, 3))
    assert trained(keras.Model(*seg_net())) == 24_981_069 + heads
    # Table 2 of the paper has 1.77 times the parameters of a single task.
    factor = trained(keras.Model(*mtan_seg_net())) / 24_981_069
    assert round(factor, 2) == 1.77


def trained(model):
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


def labels():
    rng = np.random.default_rng(0)
    normal = rng.normal(size=(2, *SHAPE))
    return {
        "segmentation": rng.integers(-1, 4, (2, 16, 8)).astype("float32"),
        "depth": rng.uniform(0, 1, (2, 16, 8, 1)),
        "normal": normal / np.linalg.norm(normal, axis=-1, keepdims=True),
    }


@pytest.mark.parametrize(
    "build", [seg_net, pytest.param(mtan_seg_net, marks=pytest.mark.slow)]
)
def test_trunk_is_found_and_trained(build):
    model = keras_mtl.MultiTaskModel(*network(build))
    model.compile(
        "sgd",
        loss=scene_losses(),
        metrics=keras_mtl.metrics.scene_metrics(classes=4),
        weighting=keras_mtl.weightings.NashMTL(gradients="features"),
        run_eagerly=True,
    )
    before = {v.path: np.array(v.numpy()) for v in model.trainable_variables}
    history = model.fit(IMAGE, labels(), verbose=0).history
    assert all(np.isfinite(x).all() for x in history.values())
    still = [
        v.path
        for v in model.trainable_variables
        if np.array_equal(before[v.path], v.numpy())
    ]
    # A bias before a batch normalization has no effect.
    assert [path for path in still if not path.endswith("bias")] == []


@pytest.mark.every_backend
def test_gradient_of_a_vector_of_zeros():
    x = np.array([[0.0, 0.0, 0.0], [3.0, 4.0, 0.0]], "float32")
    layer = UnitVector()
    factors = np.array([[1.0, 2.0, 3.0]] * 2, "float32")

    def total(x):
        return ops.sum(ops.multiply(layer(x), factors))

    gradient = ops.convert_to_numpy(gradient_of(total, x))
    assert np.isfinite(gradient).all()
    # A change along the vector does not change it.
    assert gradient[1] @ x[1] == pytest.approx(0, abs=1e-5)


@pytest.mark.any_backend
def test_bad_arguments():
    with pytest.raises(ValueError, match="some of .*Received: tasks="):
        seg_net(["depth", "edges"])
    with pytest.raises(ValueError, match="= 32 divides.*shape=.100, 128, 3."):
        seg_net(shape=(100, 128, 3))
    with pytest.raises(ValueError, match="widths"):
        seg_net(shape=SHAPE, widths=(2, 0))


def test_one_task():
    _, outputs = network(mtan_seg_net, tasks=["depth"])
    assert list(outputs) == ["depth"]
