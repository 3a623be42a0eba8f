"""The builders of TensorFlow Datasets give what the functions give.

Each data set is prepared from the small files of the tests of its function, and
where the data set itself is at hand, from a part of that.
"""

import unittest

import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl.datasets import fdu_mtl
from keras_mtl.datasets import glue
from keras_mtl.datasets import multi_mnist
from keras_mtl.datasets import newsgroups
from keras_mtl.datasets import nyuv2
from keras_mtl.datasets import qm9
from tests.datasets import test_fdu_mtl
from tests.datasets import test_glue
from tests.datasets import test_multi_mnist
from tests.datasets import test_newsgroups
from tests.datasets import test_nyuv2
from tests.datasets import test_qm9
from tests.datasets.real_data import real
from tests.test_documentation import examples

tfds = pytest.importorskip(
    "tensorflow_datasets", reason="needs the extra `datasets`"
)

from keras_mtl.datasets import tfds_builders  # noqa: E402

pytestmark = pytest.mark.any_backend


class Case:
    """A data set of a few examples: its files, its config, its function."""

    def __init__(self, write, config, load):
        self.write = write
        self.config = config
        self.load = load


def write_qm9(folder):
    test_qm9.write(folder, test_qm9.molecules())


def write_glue(folder):
    test_glue.write(folder / "glue_data")
    text = "index\tsentence1\tsentence2\n0\tA.\tB.\n1\tC.\tD.\n"
    (folder / "glue_data" / "RTE" / "test.tsv").write_text(text)


CASES = {
    "fdu_mtl": Case(
        lambda folder: test_fdu_mtl.write_all(folder / "fdu_mtl"),
        lambda folder: tfds_builders.FduMtlConfig(
            name="tiny", tasks=test_fdu_mtl.TASKS
        ),
        lambda folder: fdu_mtl.load_reviews(
            folder / "fdu_mtl", test_fdu_mtl.TASKS, validation=0.1
        ),
    ),
    "glue_mtl": Case(
        write_glue,
        lambda folder: "rte",
        lambda folder: glue.load_data(folder / "glue_data", ["rte"]),
    ),
    # The file is in `manual_dir` itself.
    "multi_mnist": Case(
        test_multi_mnist.write,
        lambda folder: tfds_builders.MultiMnistConfig(
            name="tiny", validation=10
        ),
        lambda folder: multi_mnist.load_data(folder, 10),
    ),
    "newsgroups_mtl": Case(
        lambda folder: test_newsgroups.write(folder / "20news"),
        lambda folder: tfds_builders.NewsgroupsMtlConfig(
            name="tiny", tasks=test_newsgroups.TASKS
        ),
        lambda folder: newsgroups.load_posts(
            folder / "20news", test_newsgroups.TASKS
        ),
    ),
    "nyuv2_mtl": Case(
        test_nyuv2.write,
        lambda folder: tfds_builders.Nyuv2MtlConfig(name="tiny", validation=2),
        lambda folder: nyuv2.load_data(folder, 2),
    ),
    "qm9_mtl": Case(
        write_qm9,
        lambda folder: tfds_builders.Qm9MtlConfig(
            name="tiny", molecules=20, data_dir=str(folder)
        ),
        lambda folder: qm9.load_data(
            20, splits="papers", data_dir=folder, cache_dir=folder
        ),
    ),
}


def prepared(name, config, manual_dir, data_dir, file_format="array_record"):
    builder = tfds.builder(
        name, config=config, data_dir=data_dir, file_format=file_format
    )
    download = tfds.download.DownloadConfig(manual_dir=manual_dir)
    builder.download_and_prepare(download_config=download)
    return builder


def rows_of_texts(split):
    """Returns the examples of `{task: (texts, labels)}`."""
    for task, (texts, labels) in split.items():
        for text, label in zip(texts, labels):
            other = {name: np.array([np.nan]) for name in split}
            yield {"text": text, **other, task: np.array([label])}


def rows_of(name, split):
    """Returns the examples of a split as the function of a data set has it."""
    if name in ("fdu_mtl", "newsgroups_mtl"):
        return list(rows_of_texts(split))
    if name == "glue_mtl":
        ((x, labels),) = split.values()
        arrays = {**x, "label": labels}
    else:
        x, y = split
        arrays = {**(x if isinstance(x, dict) else {"image": x}), **y}
    columns = arrays.values()
    return [dict(zip(arrays, values)) for values in zip(*columns)]


def key(row):
    """Returns the same value for the same example, whatever types it has."""
    parts = []
    for name in sorted(row):
        value = row[name]
        value = value.decode() if isinstance(value, bytes) else value
        if not isinstance(value, str):
            value = np.asarray(value, "float64").tolist()
        parts.append((name, str(value)))
    return parts


def assert_same(name, builder, data):
    """Asserts that a data set has all examples of a `TaskData`, split alike."""
    for split, expected in data.splits.items():
        source = builder.as_data_source(split)
        found = sorted(key(source[i]) for i in range(len(source)))
        assert found == sorted(key(row) for row in rows_of(name, expected))


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "manual"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("name", CASES)
def test_examples_are_those_of_the_function(name, folder, tmp_path):
    case = CASES[name]
    case.write(folder)
    builder = prepared(name, case.config(folder), folder, tmp_path / "data")
    data = case.load(folder)
    assert_same(name, builder, data)
    if name == "qm9_mtl":
        expected = data.info["statistics"]["homo"]._asdict()
        found = builder.info.metadata["statistics"]["homo"]
        assert found == pytest.approx(expected)


def test_the_test_set_of_glue_has_no_labels(folder, tmp_path):
    write_glue(folder)
    source = prepared("glue_mtl", "rte", folder, tmp_path).as_data_source()
    found = sorted((x["first"], x["label"]) for x in source["test"])
    assert found == [(b"A.", -1), (b"C.", -1)]
    builder = prepared("glue_mtl", "stsb", folder, tmp_path)
    assert [*builder.info.splits] == ["train", "validation"]


def test_a_config_may_hold_out_a_validation_split(folder, tmp_path):
    write_glue(folder)
    config = tfds_builders.GlueMtlConfig(
        name="held_out", task="rte", validation=0.5
    )
    builder = prepared("glue_mtl", config, folder, tmp_path)
    data = glue.load_data(folder / "glue_data", ["rte"], validation=0.5)
    assert [*data.splits] == ["train", "validation", "test"]
    assert_same("glue_mtl", builder, data)


def some_images(folder):
    """Makes a folder of the first images of NYUv2."""
    for split in ("train", "val"):
        for kind in ("image", "label", "depth", "normal"):
            target = folder / "nyuv2" / split / kind
            target.mkdir(parents=True)
            for i in range(3):
                source = real("nyuv2_96x128") / split / kind / f"{i}.npy"
                (target / source.name).symlink_to(source)


def some_digits(folder):
    with np.load(real("mnist.npz")) as file:
        parts = {name: file[name][:50] for name in file}
    np.savez(folder / "mnist.npz", **parts)


def link(folder, name):
    (folder / name).symlink_to(real(name))


REAL = {
    "fdu_mtl": Case(
        lambda folder: link(folder, "fdu_mtl"),
        lambda folder: "MR",
        lambda folder: fdu_mtl.load_reviews(
            folder / "fdu_mtl", ["MR"], validation=0.1
        ),
    ),
    "glue_mtl": Case(
        lambda folder: link(folder, "glue_data"),
        lambda folder: "mrpc",
        lambda folder: glue.load_data(folder / "glue_data", ["mrpc"]),
    ),
    "multi_mnist": Case(
        some_digits,
        lambda folder: tfds_builders.MultiMnistConfig(name="a", validation=9),
        lambda folder: multi_mnist.load_data(folder, 9),
    ),
    "newsgroups_mtl": Case(
        lambda folder: link(folder, "20news"),
        lambda folder: "talk",
        lambda folder: newsgroups.load_posts(folder / "20news", ["talk"]),
    ),
    "nyuv2_mtl": Case(
        some_images,
        lambda folder: tfds_builders.Nyuv2MtlConfig(name="a", validation=1),
        lambda folder: nyuv2.load_data(folder / "nyuv2", 1),
    ),
    "qm9_mtl": Case(
        lambda folder: pytest.importorskip("qm9pack.data"),
        lambda folder: tfds_builders.Qm9MtlConfig(name="a", molecules=26),
        lambda folder: qm9.load_data(26, splits="papers", cache_dir=folder),
    ),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*have tabs in place of line ends")
@pytest.mark.parametrize("name", REAL)
def test_real_examples_are_those_of_the_function(name, folder, tmp_path):
    case = REAL[name]
    case.write(folder)
    builder = prepared(name, case.config(folder), folder, tmp_path / "data")
    assert_same(name, builder, case.load(folder))


@pytest.mark.parametrize("name", sorted({*CASES} - {"qm9_mtl"}))
def test_says_what_to_download(name, tmp_path):
    folder = {
        "fdu_mtl": "fdu_mtl/",
        "glue_mtl": "glue_data/",
        "multi_mnist": "mnist.npz",
        "newsgroups_mtl": "20news/",
        "nyuv2_mtl": "nyuv2/",
    }[name]
    with pytest.raises(AssertionError, match="does not exist or") as error:
        prepared(name, None, tmp_path / "manual", tmp_path / "data")
    text = str(error.value)
    assert f"manual_dir/{folder}" in text or f"`{folder}`" in text


def test_names_are_public():
    builders = {name for name in tfds_builders.__all__ if "Config" not in name}
    assert {getattr(tfds_builders, x).name for x in builders} == {*CASES}
    for name in CASES:
        assert f"| `{name}` | " in tfds_builders.__doc__
        first = tfds.builder_cls(name).BUILDER_CONFIGS[0].name
        assert f"| `{name}` | `{first}`" in tfds_builders.__doc__ or (
            name == "glue_mtl"
        )


# TensorFlow is imported, and a model trained.
@pytest.mark.slow
def test_documented_examples(tmp_path, monkeypatch):
    pytest.importorskip("tensorflow")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    test_multi_mnist.write(tmp_path / "data")
    inputs = keras.Input((28, 28, 1))
    x = keras.layers.Flatten()(inputs)
    model = keras_mtl.MultiTaskModel(
        inputs,
        {task: keras.layers.Dense(10)(x) for task in multi_mnist.TASKS},
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", dict.fromkeys(multi_mnist.TASKS, loss))
    names = {"model": model}
    for example in examples("docs/datasets.md"):
        # The few digits here are too few for the default split.
        example = example.replace('"multi_mnist"', '"multi_mnist/paper"')
        exec(example.replace('"validation"', '"test"'), names)
    assert model.optimizer.iterations == 2
    assert len(names["source"]) == 40


# Numbers of examples for training, validation and test.
SIZES = {
    "fdu_mtl": (36, 4, 16),
    "glue_mtl": (2, 1, 2),
    "multi_mnist": (30, 10, 10),
    "newsgroups_mtl": (72, 8, 32),
    "nyuv2_mtl": (11, 2, 3),
    "qm9_mtl": (17, 1, 2),
}


def suite_of_tfds(name, folder):
    """Returns TFDS's own tests of a builder, on the files in a folder."""

    class BuilderTest(tfds.testing.DatasetBuilderTestCase):
        DATASET_CLASS = tfds.builder_cls(name)
        BUILDER_CONFIG_NAMES_TO_TEST = [CASES[name].config(folder)]
        EXAMPLE_DIR = folder
        SPLITS = dict(zip(("train", "validation", "test"), SIZES[name]))
        # The small files of GLUE have the same sentences in two splits.
        OVERLAPPING_SPLITS = ["validation"] if name == "glue_mtl" else []

    return unittest.defaultTestLoader.loadTestsFromTestCase(BuilderTest)


# To import `tfds.testing` takes TensorFlow and seconds.
@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_passes_the_tests_of_tfds(name, folder):
    pytest.importorskip("tensorflow")
    pytest.importorskip("dill", reason="the tests of TFDS need it")
    CASES[name].write(folder)
    tests = suite_of_tfds(name, folder)
    assert tests.countTestCases() >= 5
    result = unittest.TestResult()
    tests.run(result)
    problems = [text for _, text in result.failures + result.errors]
    assert not problems, "\n".join(problems)
