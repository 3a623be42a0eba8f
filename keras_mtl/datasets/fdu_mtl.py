"""FDU-MTL: sixteen binary sentiment tasks, each of one kind of review.

Fourteen tasks are domains of Amazon's product reviews, the other two are
reviews of films (`imdb`, and `MR`, single sentences). The texts are in English,
split into words and punctuation by spaces.

Reference:

- [Liu et al., 2017](https://aclanthology.org/P17-1001/), the data, made from
  those of Blitzer et al. (2007), Maas et al. (2011) and Pang and Lee (2005).
"""

import collections
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_mtl.datasets.task_data import TaskData

AMAZON_TASKS = (
    "apparel",
    "baby",
    "books",
    "camera_photo",
    "dvd",
    "electronics",
    "health_personal_care",
    "kitchen_housewares",
    "magazines",
    "music",
    "software",
    "sports_outdoors",
    "toys_games",
    "video",
)
TASKS = (*AMAZON_TASKS, "imdb", "MR")

PADDING, UNKNOWN = 0, 1


class Reviews(NamedTuple):
    """Reviews of one task.

    Attributes:
        texts: List of `n` strings.
        labels: Float32 array of shape `(n,)`, 1 for a positive review.
    """

    texts: list[str]
    labels: np.ndarray


def load_reviews(
    data_dir: str | os.PathLike, tasks: Sequence[str] = TASKS
) -> TaskData:
    """Reads the reviews as they are.

    Some texts stand twice in a training file, and 485 in both files of a task
    (163 of magazines). Here, training has each text once, and none of the
    test's; the test is as it is in the file.

    Example:

    ```python
    train, test = fdu_mtl.load_reviews("fdu_mtl", ["books", "imdb"])
    train["books"].texts[0], train["books"].labels[0]
    ```

    Args:
        data_dir: Folder with the files `<task>.task.train` and
            `<task>.task.test`, of which each line is the label, 0 or 1, a tab
            and the text, in Latin-1.
        tasks: Names of tasks.

    Returns:
        A `TaskData` of two splits, `train` and `test`, each a dict of task to
        `Reviews`, the pair `(texts, labels)`.

    Raises:
        FileNotFoundError: `data_dir` lacks a file.
        ValueError: There is no such task, or a file has another layout.
    """
    unknown = [task for task in tasks if task not in TASKS]
    if unknown or not len(tasks) or len({*tasks}) < len(tasks):
        raise ValueError(
            f"Expected `tasks` to be different ones of {list(TASKS)}. "
            f"Received: tasks={tasks}"
        )
    folder = Path(data_dir).expanduser()
    train, test = {}, {}
    for task in tasks:
        rows = _read(folder / f"{task}.task.test")
        test[task] = _as_reviews(rows)
        seen = {text for _, text in rows}
        labels = {}
        for label, text in _read(folder / f"{task}.task.train"):
            if text not in seen:
                labels.setdefault(text, label)
        rows = [(label, text) for text, label in labels.items()]
        train[task] = _as_reviews(rows)
    return TaskData(train, test=test)


def load_texts(
    data_dir: str | os.PathLike, tasks: Sequence[str] = TASKS
) -> dict[str, tuple[Reviews, Reviews]]:
    """Reads the reviews, as `load_reviews`, in the form of earlier versions.

    Deprecated: use `load_reviews`.

    Args:
        data_dir: See `load_reviews`.
        tasks: See `load_reviews`.

    Returns:
        Dict of task to a pair of `Reviews`, `(train, test)`.

    Raises:
        FileNotFoundError: See `load_reviews`.
        ValueError: See `load_reviews`.
    """
    warnings.warn(
        "`fdu_mtl.load_texts` will be removed in the next version. Use "
        "`fdu_mtl.load_reviews`: `train, test = load_reviews(...)`, each a "
        "dict of task to `Reviews`.",
        DeprecationWarning,
        stacklevel=2,
    )
    train, test = load_reviews(data_dir, tasks)
    return {task: (train[task], test[task]) for task in train}


def load_data(
    data_dir: str | os.PathLike,
    tasks: Sequence[str] = AMAZON_TASKS,
    vocabulary_size: int = 20000,
    max_words: int = 256,
    validation: float = 0.1,
    reviews: int | None = None,
    seed: int = 0,
) -> TaskData:
    """Loads FDU-MTL for a model with one input, which all tasks share.

    Each review has the label of its own task; those of the other tasks are NaN,
    that is missing, for `MultiTaskModel`. A batch has reviews of all tasks, and
    the loss of a task is the mean over its own.

    Each split is a pair `(x, y)`:

    - `x`: `"tokens"`, int32 of shape `(n, max_words)`, the places of the
      words in the vocabulary; 0 after the last word, 1 for a word that is not
      there.
    - `y`: for each task float32 of shape `(n, 1)`: 1 for a positive
      review, 0 for a negative one, NaN for a review of another task.

    Example:

    ```python
    train, validation, test, vocabulary = fdu_mtl.load_data("fdu_mtl")
    model.fit(*train, validation_data=validation)
    ```

    Args:
        data_dir: See `load_reviews`.
        tasks: Names of tasks, by default the fourteen of Amazon.
        vocabulary_size: Largest number of words, with the two that stand for
            padding and for unknown words. The most frequent ones of the
            training split are kept.
        max_words: Number of words of a review that are read, from its
            beginning.
        validation: Share of the training files that becomes the validation
            split.
        reviews: Number of reviews per task that are drawn from each file, or
            `None` for all.
        seed: Integer, draws the reviews and their order.

    Returns:
        A `TaskData`, which unpacks to `(train, validation, test, vocabulary)`.
        The vocabulary, also `info["vocabulary"]`, is the list of the words.

    Raises:
        FileNotFoundError: `data_dir` lacks a file.
        ValueError: There is no such task, a file has another layout, or a split
            would be empty.
    """
    rng = np.random.default_rng(seed)
    splits = {"train": [], "validation": [], "test": []}
    loaded = load_reviews(data_dir, tasks)
    for task in tasks:
        train = _draw(loaded.train[task], reviews, rng)
        test = _draw(loaded.test[task], reviews, rng)
        count = round(validation * len(train.texts))
        if not 0 < count < len(train.texts) or not test.texts:
            raise ValueError(
                "Expected enough reviews for each split to have one. Received: "
                f"{len(train.texts)} reviews for training and validation and "
                f"{len(test.texts)} for test of {task!r}, "
                f"validation={validation}"
            )
        splits["validation"].append(Reviews(*(x[:count] for x in train)))
        splits["train"].append(Reviews(*(x[count:] for x in train)))
        splits["test"].append(test)
    vocabulary = _vocabulary(splits["train"], vocabulary_size)
    index = {word: i for i, word in enumerate(vocabulary)}
    arrays = {
        split: _as_arrays(parts, tasks, index, max_words, rng)
        for split, parts in splits.items()
    }
    return TaskData(**arrays, info={"vocabulary": vocabulary})


def _read(path):
    """Returns a list of `(label, text)`."""
    try:
        # Bytes are read, since in a text file in Latin-1 Python takes more than
        # "\n" for the end of a line.
        content = path.read_bytes().decode("latin1")
    except FileNotFoundError as error:
        raise FileNotFoundError(
            "Expected `data_dir` to be a folder with the files "
            "`<task>.task.train` and `<task>.task.test`. "
            f"Received: data_dir={str(path.parent)!r}, without {path.name!r}"
        ) from error
    rows = []
    for number, line in enumerate(content.split("\n"), 1):
        if not line.strip():
            continue
        label, tab, text = line.partition("\t")
        if label.strip() not in ("0", "1") or not tab:
            raise ValueError(
                "Expected each line to be a label, 0 or 1, a tab and a text. "
                f"Received: line {number} of {path}, {line[:60]!r}"
            )
        rows.append((int(label), text.strip()))
    return rows


def _as_reviews(rows):
    labels = np.array([label for label, _ in rows], "float32")
    return Reviews([text for _, text in rows], labels)


def _draw(reviews, count, rng):
    order = rng.permutation(len(reviews.texts))[:count]
    return Reviews([reviews.texts[i] for i in order], reviews.labels[order])


def _words(text):
    return text.lower().split()


def _vocabulary(parts, size):
    # Words that are as frequent as each other are in the order of the alphabet,
    # so that the cut at `size` depends on the texts alone. scikit-learn's
    # `CountVectorizer` leaves open which of them `max_features` keeps.
    counts = collections.Counter(
        word for part in parts for text in part.texts for word in _words(text)
    )
    by_count = sorted(counts, key=lambda word: (-counts[word], word))
    return ["", "[UNK]", *by_count[: size - 2]]


def _as_arrays(parts, tasks, index, max_words, rng):
    texts = [text for part in parts for text in part.texts]
    tokens = np.full((len(texts), max_words), PADDING, "int32")
    for row, text in zip(tokens, texts):
        words = _words(text)[:max_words]
        row[: len(words)] = [index.get(word, UNKNOWN) for word in words]
    targets = {}
    start = 0
    for task, part in zip(tasks, parts):
        targets[task] = np.full((len(texts), 1), np.nan, "float32")
        targets[task][start : start + len(part.texts), 0] = part.labels
        start += len(part.texts)
    order = rng.permutation(len(texts))
    return (
        {"tokens": tokens[order]},
        {task: labels[order] for task, labels in targets.items()},
    )
