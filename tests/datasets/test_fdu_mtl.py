"""FDU-MTL is read, split and numbered as documented."""

import numpy as np
import pytest

from keras_mtl.datasets import fdu_mtl
from tests.datasets.real_data import real

pytestmark = pytest.mark.any_backend

TASKS = ("books", "MR")


def write(folder, task, kind, lines, end="\n"):
    folder.mkdir(exist_ok=True)
    content = "".join(line + end for line in lines)
    path = folder / f"{task}.task.{kind}"
    path.write_bytes(content.encode("latin1"))
    return folder


def line(task, i):
    """A review that is positive if its number is even."""
    return f"{1 - i % 2}\t{task} review number{i} is {'good' * (i % 3)} ."


def write_all(folder):
    for task in TASKS:
        write(folder, task, "train", [line(task, i) for i in range(20)])
        write(folder, task, "test", [line(task, i) for i in range(20, 28)])
    return folder


@pytest.fixture
def data_dir(tmp_path):
    return write_all(tmp_path / "fdu_mtl")


def decode(tokens, vocabulary):
    return " ".join(vocabulary[i] for i in tokens if i)


def load(data_dir, **kwargs):
    return fdu_mtl.load_data(data_dir, tasks=TASKS, **kwargs)


def test_there_are_sixteen_tasks_of_which_fourteen_are_of_amazon():
    assert len(fdu_mtl.TASKS) == 16
    assert {*fdu_mtl.TASKS} - {*fdu_mtl.AMAZON_TASKS} == {"imdb", "MR"}


def test_texts_are_read_as_they_are(data_dir):
    reviews = fdu_mtl.load_reviews(data_dir, TASKS)
    assert reviews.tasks == tuple(TASKS)
    train, test = (split["books"] for split in reviews)
    assert (len(train.texts), len(test.texts)) == (20, 8)
    assert train.texts[:2] == [
        "books review number0 is  .",
        "books review number1 is good .",
    ]
    assert train.labels.dtype == "float32"
    np.testing.assert_array_equal(train.labels, 10 * [1.0, 0.0])


def test_reads_latin1_and_tabs_in_texts(tmp_path):
    # "\x85" ends a line for Python, but not in the file.
    rows = ["1\tcaf\xe9 one\x85two", "0\ta\tb", ""]
    for end in ("\n", "\r\n"):
        for kind in ("train", "test"):
            write(tmp_path, "MR", kind, rows if kind == "train" else [], end)
        train = fdu_mtl.load_reviews(tmp_path, ["MR"]).train["MR"]
        assert train.texts == ["caf\xe9 one\x85two", "a\tb"]
        np.testing.assert_array_equal(train.labels, [1.0, 0.0])


def test_training_has_no_text_twice_and_none_of_the_test(tmp_path):
    write(tmp_path, "MR", "train", ["1\ta", "0\tb", "1\ta", "0\tc"])
    write(tmp_path, "MR", "test", ["0\tc", "0\tc", "1\td"])
    train, test = (
        split["MR"] for split in fdu_mtl.load_reviews(tmp_path, ["MR"])
    )
    assert train.texts == ["a", "b"]
    assert test.texts == ["c", "c", "d"]


def test_labels_of_other_tasks_are_missing(data_dir):
    *splits, vocabulary = load(data_dir)
    for inputs, targets in splits:
        assert inputs["tokens"].dtype == "int32"
        assert inputs["tokens"].shape[1] == 256
        for tokens, *labels in zip(inputs["tokens"], *targets.values()):
            own = ["books", "mr"].index(decode(tokens, vocabulary).split()[0])
            assert not np.isnan(labels[own])
            assert np.isnan(labels[1 - own])
    for labels in splits[0][1].values():
        assert labels.dtype == "float32"
        assert labels.shape == (36, 1)


def test_labels_and_texts_belong_together(data_dir):
    train, _, _, vocabulary = load(data_dir)
    for i, task in enumerate(TASKS):
        own = ~np.isnan(train[1][task][:, 0])
        rows = zip(train[0]["tokens"][own], train[1][task][own, 0])
        for tokens, label in rows:
            words = decode(tokens, vocabulary).split()
            number = int(words[2].removeprefix("number"))
            assert label == 1 - number % 2
        assert own.sum() == 18, i


def test_splits_are_disjoint_and_complete(data_dir):
    *splits, vocabulary = load(data_dir, validation=0.25)
    texts = [
        [decode(tokens, vocabulary) for tokens in inputs["tokens"]]
        for inputs, _ in splits
    ]
    assert [len(part) for part in texts] == [30, 10, 16]
    # The numbers of validation and test are not in the vocabulary.
    assert not {*texts[0]} & {*texts[1]}
    assert len({*texts[0]}) == 30


def test_reviews_have_the_splits_of_the_arrays(data_dir):
    splits = fdu_mtl.load_reviews(data_dir, TASKS, validation=0.25)
    *arrays, vocabulary = load(data_dir, validation=0.25)
    assert list(splits.splits) == ["train", "validation", "test"]
    for split, (_, targets) in zip(splits, arrays):
        for task in TASKS:
            own = ~np.isnan(targets[task][:, 0])
            assert len(split[task].texts) == own.sum()
    found = {decode(row, vocabulary) for row in arrays[0][0]["tokens"]}
    texts = [text for part in splits.train.values() for text in part.texts]
    assert found == {" ".join(text.lower().split()) for text in texts}


def test_splits_of_a_task_do_not_depend_on_the_others(data_dir):
    for alone, both in zip(
        fdu_mtl.load_reviews(data_dir, ["MR"], validation=0.25),
        fdu_mtl.load_reviews(data_dir, TASKS, validation=0.25),
    ):
        assert alone["MR"].texts == both["MR"].texts


def test_vocabulary_is_that_of_the_training_split(data_dir):
    train, _, test, vocabulary = load(data_dir)
    assert vocabulary[:2] == ["", "[UNK]"]
    # In each review, before what only some have.
    assert {*vocabulary[2:5]} == {".", "is", "review"}
    words = {vocabulary[i] for i in np.unique(train[0]["tokens"])}
    assert words == {*vocabulary} - {"[UNK]"}
    # The number in each review of the test is another.
    assert np.all((test[0]["tokens"] == fdu_mtl.UNKNOWN).sum(axis=1) >= 1)
    small = load(data_dir, vocabulary_size=5)
    assert small[3] == vocabulary[:5]
    assert small[0][0]["tokens"].max() == 4


def test_words_after_the_last_are_left_out(data_dir):
    train, _, _, vocabulary = load(data_dir, max_words=2)
    assert train[0]["tokens"].shape == (36, 2)
    assert {decode(tokens, vocabulary) for tokens in train[0]["tokens"]} == {
        "books review",
        "mr review",
    }


def test_seed_draws_reviews_and_order(data_dir):
    first, again = load(data_dir, reviews=6), load(data_dir, reviews=6)
    other = load(data_dir, reviews=6, seed=1)
    for a, b in zip(first[:3], again[:3]):
        np.testing.assert_array_equal(a[0]["tokens"], b[0]["tokens"])
        for task in TASKS:
            np.testing.assert_array_equal(a[1][task], b[1][task])
    assert [len(part[0]["tokens"]) for part in first[:3]] == [10, 2, 12]
    assert first[3] != other[3]


def test_missing_file(data_dir):
    with pytest.raises(
        FileNotFoundError, match="without 'dvd.task.test'"
    ) as error:
        fdu_mtl.load_reviews(data_dir, ["books", "dvd"])
    assert f"Received: data_dir={str(data_dir)!r}" in str(error.value)


@pytest.mark.parametrize("tasks", [["book"], [], ["books", "books"]])
def test_wrong_tasks(data_dir, tasks):
    with pytest.raises(ValueError, match="different ones of .*Received: tasks"):
        fdu_mtl.load_reviews(data_dir, tasks)


@pytest.mark.parametrize("broken", ["2\ttext", "no label", "1 text"])
def test_other_layout(data_dir, broken):
    write(data_dir, "books", "train", [line("books", 0), broken])
    with pytest.raises(
        ValueError, match="a label, 0 or 1, .*line 2 of .*books.task.train"
    ):
        load(data_dir)


@pytest.mark.parametrize("arguments", [{"validation": 0.0}, {"reviews": 1}])
def test_empty_split(data_dir, arguments):
    with pytest.raises(ValueError, match="each split.*of 'books'"):
        load(data_dir, **arguments)


def test_real_reviews():
    data = fdu_mtl.load_reviews(
        real("fdu_mtl"), ["MR", "magazines"], validation=0.1
    )
    for split in data:
        for texts, labels in split.values():
            assert 0.3 < labels.mean() < 0.7 and all(texts)
    assert [len(split["MR"].texts) for split in data] == [1440, 160, 400]


def test_the_form_of_earlier_versions_warns(data_dir):
    new = fdu_mtl.load_reviews(data_dir, TASKS)
    with pytest.warns(DeprecationWarning, match="load_reviews") as record:
        old = fdu_mtl.load_texts(data_dir, TASKS)
    assert record[0].filename == __file__
    assert list(old) == list(TASKS)
    for task, pair in old.items():
        for reviews, split in zip(pair, new):
            assert reviews.texts == split[task].texts
            np.testing.assert_array_equal(reviews.labels, split[task].labels)
