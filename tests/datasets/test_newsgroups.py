"""20 Newsgroups is read, stripped and split as documented."""

import importlib.util

import numpy as np
import pytest

from keras_mtl.datasets import newsgroups
from tests.datasets.real_data import real

pytestmark = pytest.mark.any_backend

TASKS = ("sci", "talk")
POST = """From: ann@example.org (Ann)
Subject: Re: {group}

bob@example.org wrote:
> What of {group}?
Word{number} is a {word}.

--
Ann of {group}
"""
SIZES = {"train": 10, "test": 4}


def post(group, number):
    word = group.rpartition(".")[2]
    return POST.format(group=group, number=number, word=word)


def write(folder, tasks=TASKS):
    number = 0
    for split, size in SIZES.items():
        for task in tasks:
            for group in newsgroups.GROUPS[task]:
                path = folder / f"20news-bydate-{split}" / group
                path.mkdir(parents=True)
                for _ in range(size):
                    number += 1
                    text = post(group, number)
                    (path / str(number)).write_text(text, "latin1")
    return folder


@pytest.fixture
def data_dir(tmp_path):
    return write(tmp_path / "20news")


def load(data_dir, **kwargs):
    return newsgroups.load_data(data_dir, TASKS, **kwargs)


def test_tasks_are_those_of_the_paper():
    assert newsgroups.TASKS == ("comp", "rec", "sci", "talk")
    for task, groups in newsgroups.GROUPS.items():
        assert len({*groups}) == newsgroups.CLASSES
        assert all(group.startswith(f"{task}.") for group in groups)


def test_headers_quotes_and_footers_are_stripped(data_dir):
    data = newsgroups.load_posts(data_dir, TASKS)
    assert data.tasks == TASKS
    assert [len(split["sci"].texts) for split in data] == [36, 4, 16]
    for split in data:
        for task, (texts, labels) in split.items():
            assert labels.dtype == "float32"
            for text, label in zip(texts, labels):
                group = newsgroups.GROUPS[task][int(label)]
                first, *others = text.split(" ")
                assert first.startswith("Word")
                assert others == ["is", "a", group.rpartition(".")[2] + "."]


def test_splits_are_disjoint_and_do_not_depend_on_the_other_tasks(data_dir):
    data = newsgroups.load_posts(data_dir, TASKS)
    texts = [{*split["talk"].texts} for split in data]
    assert len(set.union(*texts)) == sum(map(len, texts)) == 56
    alone = newsgroups.load_posts(data_dir, ["talk"])
    for split, other in zip(data, alone):
        assert split["talk"].texts == other["talk"].texts
    other = newsgroups.load_posts(data_dir, TASKS, seed=1)
    assert {*other.validation["talk"].texts} != texts[1]


def test_training_has_no_text_twice_and_none_of_the_test(data_dir):
    train = data_dir / "20news-bydate-train" / "sci.med"
    test = data_dir / "20news-bydate-test" / "sci.med"
    (train / "900").write_text(next(iter(sorted(test.glob("*")))).read_text())
    (train / "901").write_text(next(iter(sorted(train.glob("*")))).read_text())
    (train / "902").write_text("From: a\n\n> quote\n")
    # Only a header is left of this one, which stays in the test.
    (test / "903").write_text("From: a\nSubject: b\n")
    data = newsgroups.load_posts(data_dir, ["sci"])
    assert [len(split["sci"].texts) for split in data] == [36, 4, 17]
    assert "" in data.test["sci"].texts


def test_a_post_whose_line_ends_are_tabs(data_dir):
    expected = newsgroups.load_posts(data_dir, TASKS)
    for path in data_dir.glob("20news-bydate-train/*/*"):
        path.write_text(path.read_text().replace("\n", "\t"))
    with pytest.warns(UserWarning, match="80 of the 80 posts in") as record:
        found = newsgroups.load_posts(data_dir, TASKS)
    assert record[0].filename == __file__
    assert found.train["sci"].texts == expected.train["sci"].texts


def test_tokens_and_labels(data_dir):
    train, validation, test, vocabulary = load(data_dir, max_words=6)
    assert vocabulary[:2] == ["", "[UNK]"]
    assert [len(x["tokens"]) for x, _ in (train, validation, test)] == (
        [72, 8, 32]
    )
    x, y = train
    assert x["tokens"].shape == (72, 6) and x["tokens"].dtype == "int32"
    for i, row in enumerate(x["tokens"]):
        words = [vocabulary[token] for token in row]
        assert words[1:3] + words[4:] == ["is", "a", ".", ""]
        for task in TASKS:
            ends = [g.rpartition(".")[2] for g in newsgroups.GROUPS[task]]
            label = y[task][i, 0]
            if np.isnan(label):
                assert words[3] not in ends or words[3] == "misc"
            else:
                assert words[3] == ends[int(label)]
    assert y["sci"].dtype == "float32" and y["sci"].shape == (72, 1)
    assert np.isnan(y["sci"]).sum() == 36


def test_posts_are_drawn(data_dir):
    data = load(data_dir, posts=10)
    assert [len(x["tokens"]) for x, _ in data[:3]] == [18, 2, 20]


def test_missing_group(data_dir):
    for path in (data_dir / "20news-bydate-test" / "sci.med").glob("*"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match="without .*test/sci.med"):
        load(data_dir)


def test_wrong_arguments(data_dir):
    with pytest.raises(ValueError, match="different ones of .*'comp'"):
        newsgroups.load_posts(data_dir, ["misc"])
    for arguments in ({"validation": 0.0}, {"posts": 1}):
        with pytest.raises(ValueError, match="each split.*of 'sci'"):
            load(data_dir, **arguments)


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("7.txt", POST, "a number. Received: .*sci.med/7.txt"),
        ("7", "no header", "a header.*line 1 of .*sci.med/7, 'no header'"),
        ("7", "", "a header.*line 1 of .*sci.med/7"),
    ],
)
def test_other_files(data_dir, name, text, message):
    (data_dir / "20news-bydate-train" / "sci.med" / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        load(data_dir)


@pytest.mark.skipif(
    importlib.util.find_spec("sklearn") is None, reason="needs scikit-learn"
)
def test_real_posts_are_stripped_as_by_scikit_learn():
    from sklearn.datasets import _twenty_newsgroups as reference

    folder = real("20news") / "20news-bydate-test" / "sci.space"
    paths = sorted(folder.glob("*"))[:200]
    assert len(paths) == 200
    for path in paths:
        text = path.read_bytes().decode("latin1")
        text = reference.strip_newsgroup_header(text)
        text = reference.strip_newsgroup_quoting(text)
        text = reference.strip_newsgroup_footer(text)
        assert newsgroups._read(path) == (text.strip(), False)
