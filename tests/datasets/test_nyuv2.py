"""NYUv2 is read from MTAN's layout, with NaN for pixels without a label."""

import numpy as np
import pytest

from keras_mtl.datasets import nyuv2

pytestmark = pytest.mark.any_backend

HEIGHT, WIDTH = 3, 4
SIZES = {"train": 11, "val": 5}


def write(folder):
    """Images of one colour, which is their number over 100."""
    rng = np.random.default_rng(0)
    for split, size in SIZES.items():
        for kind in ("image", "label", "depth", "normal"):
            (folder / split / kind).mkdir(parents=True)
        for i in range(size):
            normal = rng.normal(size=(HEIGHT, WIDTH, 3))
            normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
            normal[1, 2] = 0
            label = rng.integers(0, 13, (HEIGHT, WIDTH)).astype("int8")
            label[0, 0] = -1
            depth = rng.uniform(1, 5, (HEIGHT, WIDTH, 1))
            depth[2, 3] = 0
            arrays = {
                "image": np.full((HEIGHT, WIDTH, 3), i / 100),
                "label": label,
                "depth": depth,
                "normal": normal,
            }
            for kind, array in arrays.items():
                np.save(folder / split / kind / f"{i}.npy", array)
    return folder


@pytest.fixture
def data_dir(tmp_path):
    return write(tmp_path)


def numbers(split):
    return np.rint(split[0][:, 0, 0, 0] * 100).astype(int).tolist()


def test_splits(data_dir):
    train, validation, test = nyuv2.load_data(data_dir, validation=2)
    assert numbers(train) == [*range(11)]
    assert len(numbers(validation)) == 2
    assert sorted(numbers(validation) + numbers(test)) == [*range(5)]
    _, other, _ = nyuv2.load_data(data_dir, validation=2, seed=1)
    assert numbers(other) != numbers(validation)
    train, _, test = nyuv2.load_data(data_dir, validation=1, images=3)
    assert (numbers(train), len(numbers(test))) == ([0, 1, 2], 2)


def test_arrays(data_dir):
    splits = nyuv2.load_data(data_dir, validation=2)
    for images, targets in splits:
        n = len(images)
        assert tuple(targets) == nyuv2.TASKS
        assert images.shape == (n, HEIGHT, WIDTH, 3)
        assert targets["segmentation"].shape == (n, HEIGHT, WIDTH)
        assert targets["depth"].shape == (n, HEIGHT, WIDTH, 1)
        assert targets["normal"].shape == (n, HEIGHT, WIDTH, 3)
        for array in (images, *targets.values()):
            assert array.dtype == "float32"


def test_pixels_without_a_label_are_nan(data_dir):
    for split, loaded in zip(
        ("train", "val"), nyuv2.load_data(data_dir, validation=2)
    ):
        for i, number in enumerate(numbers(loaded)):
            for task, kind, missing in (
                ("segmentation", "label", -1),
                ("depth", "depth", 0),
                ("normal", "normal", 0),
            ):
                found = loaded[1][task][i]
                expected = np.load(data_dir / split / kind / f"{number}.npy")
                expected = expected.astype("float32").reshape(found.shape)
                gone = expected == missing
                assert gone.any()
                np.testing.assert_array_equal(np.isnan(found), gone)
                np.testing.assert_array_equal(found[~gone], expected[~gone])


def test_missing_files(tmp_path):
    with pytest.raises(
        FileNotFoundError, match="Received: data_dir=.*images in 'train'"
    ):
        nyuv2.load_data(tmp_path)


@pytest.mark.parametrize("validation", [0, 5])
def test_empty_split(data_dir, validation):
    with pytest.raises(ValueError, match=f"Received: validation={validation}"):
        nyuv2.load_data(data_dir, validation=validation)
