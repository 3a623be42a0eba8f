"""MultiMNIST is made of MNIST as documented."""

import numpy as np
import pytest

from keras_mtl.datasets import multi_mnist
from tests.datasets.real_data import real

pytestmark = pytest.mark.any_backend

SIZES = {"train": 40, "test": 10}


def digits(count, seed):
    """Images of which the brightness is 10 times their label, plus one."""
    labels = np.arange(count, dtype="uint8") % 10
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 2, (count, 28, 28)).astype("uint8")
    return x * (10 * labels + 1)[:, None, None], labels


def write(folder, **changes):
    folder.mkdir(exist_ok=True)
    arrays = {}
    for i, (split, size) in enumerate(SIZES.items()):
        arrays[f"x_{split}"], arrays[f"y_{split}"] = digits(size, i)
    np.savez(folder / "mnist.npz", **(arrays | changes))
    return folder


@pytest.fixture
def data_dir(tmp_path):
    return write(tmp_path)


def load(data_dir, validation=10, **kwargs):
    return multi_mnist.load_data(data_dir, validation, **kwargs)


def test_arrays(data_dir):
    data = load(data_dir)
    assert data.tasks == multi_mnist.TASKS
    assert [len(x) for x, _ in data] == [30, 10, 10]
    for x, y in data:
        assert x.dtype == "float32" and x.shape[1:] == (28, 28, 1)
        assert 0 <= x.min() and 0.3 < x.max() < 0.4
        for labels in y.values():
            assert labels.dtype == "int32" and labels.shape == (len(x),)


def test_an_image_has_both_digits_at_their_places(data_dir):
    x, y = load(data_dir).test
    source, labels = digits(SIZES["test"], 1)
    np.testing.assert_array_equal(y["left"], labels)
    nearest = np.floor((np.arange(28) + 0.5) * 36 / 28).astype(int)
    for image, left, right in zip(x[..., 0], source, y["right"]):
        canvas = np.zeros((36, 36))
        # Each label is there once.
        canvas[6:34, 6:34] = source[right]
        canvas[:28, :28] = np.maximum(canvas[:28, :28], left)
        np.testing.assert_allclose(
            image, canvas[np.ix_(nearest, nearest)] / 255, 1e-6
        )
    assert 1 < len({*y["right"]})


def test_seed_draws_splits_and_pairs(data_dir):
    first, again, other = (load(data_dir, seed=s) for s in (0, 0, 1))
    for a, b in zip(first, again):
        np.testing.assert_array_equal(a[0], b[0])
        np.testing.assert_array_equal(a[1]["right"], b[1]["right"])
    assert np.any(first.train[0] != other.train[0])
    assert np.any(first.test[1]["right"] != other.test[1]["right"])


def test_fewer_images_are_the_first_ones(data_dir):
    data, few = load(data_dir), load(data_dir, images=7)
    assert [len(x) for x, _ in few] == [7, 7, 7]
    for a, b in zip(data, few):
        np.testing.assert_array_equal(a[0][:7], b[0])
        np.testing.assert_array_equal(a[1]["left"][:7], b[1]["left"])


def test_no_validation_split(data_dir):
    data = load(data_dir, validation=0)
    assert list(data.splits) == ["train", "test"]
    assert [len(x) for x, _ in data] == [40, 10]


def test_no_digit_is_in_two_splits(tmp_path):
    # The brightness tells the digits apart, and none is 0.
    x = np.full((40, 28, 28), 1, "uint8") * np.arange(1, 41)[:, None, None]
    data = load(write(tmp_path, x_train=x.astype("uint8")))
    colors = [
        {*np.rint(np.unique(images) * 255).astype(int)} - {0}
        for images, _ in data
    ]
    assert len(colors[0]) == 30 and not colors[0] & colors[1]


@pytest.mark.parametrize("validation", [-1, 40])
def test_wrong_validation(data_dir, validation):
    with pytest.raises(ValueError, match=f"validation={validation} of 40"):
        load(data_dir, validation)


def test_missing_file(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="mnist.load_data.*Received"):
        load(tmp_path)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    write(tmp_path / "datasets")
    assert len(load(None)) == 3


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"x_train": np.zeros((40, 28, 28))}, "x_train of the type float64"),
        (
            {"x_test": np.zeros((10, 27, 28), "uint8")},
            r"x_test.*\(10, 27, 28\)",
        ),
        ({"y_test": np.zeros(9, "uint8")}, r"y_test.*\(9,\) instead of"),
        ({"y_train": np.full(40, 10)}, "y_train without digits"),
        ({"y_train": np.full(40, None)}, "Object arrays"),
    ],
)
def test_other_arrays(tmp_path, changes, message):
    with pytest.raises(ValueError, match=f"mnist.npz to be .*{message}"):
        load(write(tmp_path, **changes))


def test_broken_file(tmp_path):
    (tmp_path / "mnist.npz").write_bytes(b"PK\3\4")
    with pytest.raises(ValueError, match="mnist.npz to be .*Received"):
        load(tmp_path)


def test_real_digits():
    data = multi_mnist.load_data(real("mnist.npz").parent, images=50)
    assert [len(x) for x, _ in data] == [50, 50, 50]
    # The first digits of MNIST's test are 7, 2, 1, 0, 4.
    assert data.test[1]["left"][:5].tolist() == [7, 2, 1, 0, 4]
