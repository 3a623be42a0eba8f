"""FDU-MTL: sixteen binary sentiment tasks, each of one kind of review.

Fourteen tasks are domains of Amazon's product reviews, the other two are
reviews of films (`imdb`, and `MR`, single sentences). The texts are in English,
split into words and punctuation by spaces.

Reference:

- [Liu et al., 2017](https://aclanthology.org/P17-1001/), the data, made from
  those of Blitzer et al. (2007), Maas et al. (2011) and Pang and Lee (2005).
"""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

from keras_mtl.datasets import texts
from keras_mtl.datasets.task_data import TaskData
from keras_mtl.datasets.texts import LabeledTexts

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

PADDING, UNKNOWN = texts.PADDING, texts.UNKNOWN

# The name of earlier versions.
Reviews = LabeledTexts


def load_reviews(
    data_dir: str | os.PathLike,
    tasks: Sequence[str] = TASKS,
    validation: float | None = None,
    reviews: int | None = None,
    seed: int = 0,
) -> TaskData:
    """Reads the reviews as they are.

    Some texts stand twice in a training file, and 485 in both files of a task
    (163 of magazines). Here, training has each text once, none of the test's
    and no empty one; the test is as it is in the file.

    Example:

    ```python
    train, test = fdu_mtl.load_reviews("fdu_mtl", ["books", "imdb"])
    train["books"].texts[0], train["books"].labels[0]
    train, validation, test = fdu_mtl.load_reviews("fdu_mtl", validation=0.1)
    ```

    Args:
        data_dir: Folder with the files `<task>.task.train` and
            `<task>.task.test`, of which each line is the label, 0 or 1, a tab
            and the text, in Latin-1.
        tasks: Names of tasks.
        validation: Share of the training files that becomes the validation
            split, the one of `load_data`; the reviews are shuffled then. `None`
            for the two splits of the files, in their order.
        reviews: Number of reviews per task that are drawn from each file, with
            `validation`, or `None` for all.
        seed: Integer that is not negative, draws the reviews.

    Returns:
        A `TaskData` of the splits `train`, with `validation` also `validation`,
        and `test`, each a dict of task to the pair `(texts, labels)`: a list of
        `n` strings, and a float32 array of shape `(n,)`, 1 for a positive
        review.

    Raises:
        FileNotFoundError: `data_dir` lacks a file.
        ValueError: There is no such task, a file has another layout, or a split
            would be empty.
    """
    texts.check_tasks(tasks, TASKS)
    folder = Path(data_dir).expanduser()
    train, test = {}, {}
    for task in tasks:
        rows = _read(folder / f"{task}.task.test")
        test[task] = texts.labeled(rows)
        train[task] = texts.without(_read(folder / f"{task}.task.train"), rows)
    data = TaskData(train, test=test)
    if validation is None:
        return data
    return texts.draw_splits(data, TASKS, validation, reviews, seed)


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
            split. That of a task is the same whichever others are loaded.
        reviews: Number of reviews per task that are drawn from each file, or
            `None` for all.
        seed: Integer that is not negative, draws the reviews and their order.

    Returns:
        A `TaskData`, which unpacks to `(train, validation, test, vocabulary)`.
        The vocabulary, also `info["vocabulary"]`, is the list of the words.

    Raises:
        FileNotFoundError: `data_dir` lacks a file.
        ValueError: There is no such task, a file has another layout, or a split
            would be empty.
    """
    loaded = load_reviews(data_dir, tasks, validation, reviews, seed)
    return texts.as_tokens(loaded, vocabulary_size, max_words, seed)


def _read(path):
    """Returns a list of `(text, label)`."""
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
        rows.append((text.strip(), int(label)))
    return rows
