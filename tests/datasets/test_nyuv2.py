"""NYUv2 is read from MTAN's layout, with NaN for pixels without a label."""

import numpy as np
import pytest

from keras_mtl.datasets import nyuv2
from tests.datasets.real_data import real

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


def test_split_of_mtan(data_dir):
    train, validation, test = nyuv2.load_data(
        data_dir, validation=3, split="mtan"
    )
    assert numbers(test) == [*range(5)]
    assert len(numbers(validation)) == 3
    assert sorted(numbers(validation) + numbers(train)) == [*range(11)]
    data = nyuv2.load_data(data_dir, validation=0, split="mtan")
    assert list(data.splits) == ["train", "test"]
    assert [numbers(part) for part in data] == [[*range(11)], [*range(5)]]
    with pytest.raises(ValueError, match="'igb', 'mtan'.*split='val'"):
        nyuv2.load_data(data_dir, split="val")
    with pytest.raises(ValueError, match="Received: validation=11 of 11"):
        nyuv2.load_data(data_dir, validation=11, split="mtan")


def test_default_sizes_are_those_of_the_papers(monkeypatch):
    sizes = {"train": 795, "val": 654}

    def read(folder, count):
        x = np.arange(sizes[folder.name])
        return x, {"depth": x}

    monkeypatch.setattr(nyuv2, "_read_split", read)
    for split, expected in (("igb", [795, 197, 457]), ("mtan", [716, 79, 654])):
        data = nyuv2.load_data("nyuv2", split=split)
        assert [len(x) for x, _ in data] == expected


def test_real_images():
    train, validation, test = nyuv2.load_data(
        real("nyuv2_96x128"), validation=2, images=4
    )
    assert [len(x) for x, _ in (train, validation, test)] == [4, 2, 2]
    images, targets = train
    assert images.shape[1:] == (96, 128, 3) and 0 <= images.min()
    assert np.nanmax(targets["segmentation"]) <= 12
    norms = np.linalg.norm(targets["normal"], axis=-1)
    np.testing.assert_allclose(norms[np.isfinite(norms)], 1, atol=0.02)


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


def changed(*index, to):
    def change(path):
        array = np.load(path).astype("float64")
        array[index] = to
        np.save(path, array)

    return change


def declares(shape):
    """A file of a few bytes that says to have a huge array."""

    def change(path):
        header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}"
        text = header.ljust(117) + "\n"
        start = np.lib.format.magic(1, 0) + len(text).to_bytes(2, "little")
        path.write_bytes(start + text.encode() + bytes(80))

    return change


def saves(array):
    return lambda path: np.save(path, array)


def zipped(path):
    with open(path, "wb") as file:
        np.savez(file, np.ones((HEIGHT, WIDTH)))


BROKEN = {
    "class above 12": ("label", changed(0, 1, to=13), "0 to 12.*: 13"),
    "half a class": ("label", changed(0, 1, to=2.5), "0 to 12.*: 2.5"),
    "no class": ("label", changed(0, 1, to=np.nan), "0 to 12.*: nan"),
    "color": ("image", changed(0, 1, 2, to=np.inf), "finite.*: inf"),
    "large color": ("image", changed(0, 1, 2, to=1e39), "finite.*: inf"),
    "depth": ("depth", changed(0, 1, 0, to=np.nan), "depths.*: nan"),
    "negative depth": ("depth", changed(0, 1, 0, to=-2), "depths.*: -2"),
    "normal": ("normal", changed(0, 1, 0, to=-np.inf), "finite.*: -inf"),
    "shape": ("depth", saves(np.ones((HEIGHT, WIDTH, 2))), r"\(3, 4, 1\)"),
    "sizes": ("label", saves(np.ones((HEIGHT, WIDTH + 1))), r"\(3, 4\)"),
    "flat": ("image", saves(np.ones(12)), "shape"),
    "text": ("label", saves(np.full((HEIGHT, WIDTH), "1")), "type <U1"),
    "objects": ("label", saves(np.full((HEIGHT, WIDTH), None)), "Object"),
    "empty": ("image", lambda path: path.write_bytes(b""), "EOFError"),
    "huge": ("image", declares((10**13, 3)), "MemoryError"),
    "zip": ("label", zipped, "AttributeError"),
    "cut zip": ("label", lambda p: p.write_bytes(b"PK\3\4"), "BadZipFile"),
}


@pytest.mark.parametrize("number", [0, 3])
@pytest.mark.parametrize("case", BROKEN)
def test_broken_file(case, number, data_dir):
    kind, change, message = BROKEN[case]
    path = data_dir / "val" / kind / f"{number}.npy"
    change(path)
    with pytest.raises(ValueError, match=f"Expected {path} .*{message}"):
        nyuv2.load_data(data_dir, validation=2)


def test_an_image_without_a_number(data_dir):
    path = data_dir / "train" / "image" / "._1.npy"
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=f"Received: {path}"):
        nyuv2.load_data(data_dir)


def test_a_missing_label(data_dir):
    path = data_dir / "train" / "depth" / "7.npy"
    path.unlink()
    with pytest.raises(FileNotFoundError, match=str(path)):
        nyuv2.load_data(data_dir)


def test_depth_without_a_last_axis(data_dir):
    expected = nyuv2.load_data(data_dir, validation=2)
    for path in data_dir.glob("*/depth/*.npy"):
        np.save(path, np.load(path)[..., 0])
    for split, other in zip(nyuv2.load_data(data_dir, validation=2), expected):
        np.testing.assert_array_equal(split[1]["depth"], other[1]["depth"])
