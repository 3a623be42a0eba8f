"""Every loader returns one documented form, and unpacks as it always did."""

import copy
import pickle

import numpy as np
import pytest

from keras_mtl.datasets import TaskData
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

TRAIN, VALIDATION, TEST = "train", "validation", "test"


def load_fdu_mtl(folder):
    test_fdu_mtl.write_all(folder)
    return fdu_mtl.load_data(folder, test_fdu_mtl.TASKS)


def load_reviews(folder):
    test_fdu_mtl.write_all(folder)
    return fdu_mtl.load_reviews(folder, test_fdu_mtl.TASKS)


def load_glue(folder):
    rows = {**test_glue.ROWS, "QQP": test_glue.ROWS["QQP"][::2]}
    return glue.load_data(test_glue.write(folder, rows))


def load_multi_mnist(folder):
    return test_multi_mnist.load(test_multi_mnist.write(folder))


def load_newsgroups(folder):
    return test_newsgroups.load(test_newsgroups.write(folder))


def load_posts(folder):
    test_newsgroups.write(folder)
    return newsgroups.load_posts(folder, test_newsgroups.TASKS)


def load_nyuv2(folder):
    return nyuv2.load_data(test_nyuv2.write(folder), validation=2)


def load_qm9(folder):
    test_qm9.write(folder, test_qm9.molecules())
    return qm9.load_data(None, data_dir=folder, cache_dir=folder)


# The loader, its tasks, splits and info, and whether tasks share their inputs.
LOADERS = {
    "fdu_mtl": (
        *(load_fdu_mtl, test_fdu_mtl.TASKS),
        *([TRAIN, VALIDATION, TEST], ["vocabulary"], True),
    ),
    "fdu_mtl, reviews": (
        *(load_reviews, test_fdu_mtl.TASKS, [TRAIN, TEST], [], False),
    ),
    "glue": (load_glue, glue.TASKS, [TRAIN, VALIDATION], [], False),
    "multi_mnist": (
        *(load_multi_mnist, multi_mnist.TASKS),
        *([TRAIN, VALIDATION, TEST], [], True),
    ),
    "newsgroups": (
        *(load_newsgroups, test_newsgroups.TASKS),
        *([TRAIN, VALIDATION, TEST], ["vocabulary"], True),
    ),
    "newsgroups, posts": (
        *(load_posts, test_newsgroups.TASKS),
        *([TRAIN, VALIDATION, TEST], [], False),
    ),
    "nyuv2": (*(load_nyuv2, nyuv2.TASKS, [TRAIN, VALIDATION, TEST], [], True),),
    "qm9": (
        *(load_qm9, qm9.TASKS),
        *([TRAIN, VALIDATION, TEST], ["statistics"], True),
    ),
}


def length(part):
    """The number of examples, the same in all that an input consists of."""
    parts = part.values() if isinstance(part, dict) else [part]
    lengths = {len(x) for x in parts}
    assert len(lengths) == 1
    for x in parts:
        assert isinstance(x, np.ndarray) or all(isinstance(t, str) for t in x)
    return lengths.pop()


def check_split(data, split):
    if data.shares_inputs:
        x, y = split
        pairs = {task: (x, labels) for task, labels in y.items()}
    else:
        pairs = split
    assert tuple(pairs) == data.tasks
    for pair in pairs.values():
        x, labels = pair
        assert isinstance(labels, np.ndarray)
        assert length(x) == len(labels) > 0


@pytest.mark.parametrize("name", LOADERS)
def test_documented_form(tmp_path, name):
    load, tasks, splits, info, shares_inputs = LOADERS[name]
    data = load(tmp_path)
    assert type(data) is TaskData
    assert data.tasks == tuple(tasks)
    assert list(data.splits) == splits
    assert list(data.info) == info
    assert data.shares_inputs is shares_inputs
    for split in (TRAIN, VALIDATION, TEST):
        assert data.splits.get(split) is getattr(data, split)
    for split in data.splits.values():
        check_split(data, split)


@pytest.mark.parametrize("name", sorted({*LOADERS} - {"glue"}))
def test_unpacks_to_the_splits_and_the_info(tmp_path, name):
    data = LOADERS[name][0](tmp_path)
    expected = [*data.splits.values(), *data.info.values()]
    assert len(data) == len(expected)
    assert all(a is b for a, b in zip(data, expected))


def test_glue_unpacks_to_examples_with_names(tmp_path):
    data = load_glue(tmp_path)
    train, dev = data
    for named, split in ((train, data.train), (dev, data.validation)):
        assert tuple(named) == data.tasks
        for task, (x, labels) in split.items():
            first, second, named_labels = named[task]
            assert named_labels is labels
            assert x["first"] is first and x.get("second") is second


def assert_same(a, b):
    assert type(a) is TaskData and repr(a) == repr(b) and len(a) == len(b)
    np.testing.assert_array_equal(a.train[0], b.train[0])
    np.testing.assert_array_equal(a[0][1]["seg"], b.train[1]["seg"])
    assert a.info == b.info == {"unit": "m"}


def test_copies_and_pickles():
    x = np.arange(3.0)
    data = TaskData((x, {"seg": x}), test=(x, {"seg": x}), info={"unit": "m"})
    assert repr(data) == (
        "TaskData(tasks=['seg'], splits=['train', 'test'], "
        "shares_inputs=True, info=['unit'])"
    )
    assert_same(copy.copy(data), data)
    assert_same(copy.deepcopy(data), data)
    assert_same(pickle.loads(pickle.dumps(data)), data)
