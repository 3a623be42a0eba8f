"""FDU-MTL: sixteen binary sentiment tasks, each of one kind of review.

Fourteen tasks are domains of Amazon's product reviews, the other two are
reviews of films (`imdb`, and `MR`, single sentences). The texts are in English,
split into words and punctuation by spaces.

Reference:

- [Liu et al., 2017](https://aclanthology.org/P17-1001/), the data, made from
  those of Blitzer et al. (2007), Maas et al. (2011) and Pang and Lee (2005).
"""

import collections
from pathlib import Path
from typing import NamedTuple

import numpy as np

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

    texts: list
    labels: np.ndarray


def load_texts(data_dir, tasks=TASKS):
    """Reads the reviews as they are.

    Some texts stand twice in a training file, and 485 in both files of a task
    (163 of magazines). Here, training has each text once, and none of the
    test's; the test is as it is in the file.

    Example:

    ```python
    train, test = fdu_mtl.load_texts("fdu_mtl", ["books", "imdb"])["books"]
    train.texts[0], train.labels[0]
    ```

    Args:
        data_dir: Folder with the files `<task>.task.train` and
            `<task>.task.test`, of which each line is the label, 0 or 1, a tab
            and the text, in Latin-1.
        tasks: Names of tasks.

    Returns:
        Dict of task to a pair of `Reviews`, `(train, test)`.

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
    reviews = {}
    for task in tasks:
        test = _read(folder / f"{task}.task.test")
        train = _read(folder / f"{task}.task.train")
        seen = {text for _, text in test}
        train = [
            (label, text)
            for label, text in train
            if not (text in seen or seen.add(text))
        ]
        reviews[task] = _as_reviews(train), _as_reviews(test)
    return reviews


def load_data(
    data_dir,
    tasks=AMAZON_TASKS,
    vocabulary_size=20000,
    max_words=256,
    validation=0.1,
    reviews=None,
    seed=0,
):
    """Loads FDU-MTL for a model with one input, which all tasks share.

    Each review has the label of its own task; those of the other tasks are NaN,
    that is missing, for `MultiTaskModel`. A batch has reviews of all tasks, and
    the loss of a task is the mean over its own.

    Each split is a pair `(inputs, targets)`:

    - `inputs`: `"tokens"`, int32 of shape `(n, max_words)`, the places of the
      words in the vocabulary; 0 after the last word, 1 for a word that is not
      there.
    - `targets`: for each task float32 of shape `(n, 1)`: 1 for a positive
      review, 0 for a negative one, NaN for a review of another task.

    Example:

    ```python
    train, validation, test, vocabulary = fdu_mtl.load_data("fdu_mtl")
    model.fit(*train, validation_data=validation)
    ```

    Args:
        data_dir: See `load_texts`.
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
        `(train, validation, test, vocabulary)`, where `vocabulary` is the list
        of the words.

    Raises:
        FileNotFoundError: `data_dir` lacks a file.
        ValueError: There is no such task, a file has another layout, or a split
            would be empty.
    """
    rng = np.random.default_rng(seed)
    splits = {"train": [], "validation": [], "test": []}
    for task, (train, test) in load_texts(data_dir, tasks).items():
        train, test = _draw(train, reviews, rng), _draw(test, reviews, rng)
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
    parts = [
        _as_arrays(parts, tasks, index, max_words, rng)
        for parts in splits.values()
    ]
    return (*parts, vocabulary)


def _read(path):
    """Returns a list of `(label, text)`."""
    try:
        # Not as text: in Latin-1, Python takes more than "\n" for a line's end.
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
                f"Received: line {number} of {path.name}, {line[:60]!r}"
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
