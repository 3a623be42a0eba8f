"""What the data sets of texts share: drawing, the vocabulary and the tokens."""

import collections
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import numpy as np

from keras_mtl.datasets.task_data import TaskData

PADDING, UNKNOWN = 0, 1


class LabeledTexts(NamedTuple):
    """Texts of one task.

    Attributes:
        texts: List of `n` strings.
        labels: Float32 array of shape `(n,)`.
    """

    texts: list[str]
    labels: np.ndarray


def labeled(rows: Sequence[tuple[str, int]]) -> LabeledTexts:
    """Returns the `LabeledTexts` of a list of `(text, label)`."""
    labels = np.array([label for _, label in rows], "float32")
    return LabeledTexts([text for text, _ in rows], labels)


def without(
    rows: Sequence[tuple[str, int]], seen: Sequence[tuple[str, int]]
) -> LabeledTexts:
    """Returns each text of `rows` once, with its first label.

    Those that stand in `seen`, too, are left out, and so is the empty text.
    """
    labels = {}
    texts = {"", *(text for text, _ in seen)}
    for text, label in rows:
        if text not in texts:
            labels.setdefault(text, label)
    return labeled(list(labels.items()))


def draw_splits(
    data: TaskData,
    known: Sequence[str],
    validation: float,
    count: int | None,
    seed: int,
) -> TaskData:
    """Shuffles texts, and takes the validation split from training.

    What is drawn of a task does not depend on which others are loaded.

    Args:
        data: A `TaskData` of the splits `train` and `test`, each a dict of task
            to `LabeledTexts`.
        known: All tasks of the data set, in an order that never changes.
        validation: Share of the training texts.
        count: Number of texts that are drawn of each task's training and test,
            or `None` for all.
        seed: Integer that is not negative.

    Returns:
        A `TaskData` of the three splits, in the same form.

    Raises:
        ValueError: A split would be empty.
    """
    splits: dict[str, Any] = {"train": {}, "validation": {}, "test": {}}
    for task in data.tasks:
        rng = np.random.default_rng([seed, list(known).index(task)])
        train = _draw(data.train[task], count, rng)
        test = _draw(data.test[task], count, rng)
        size = round(validation * len(train.texts))
        if not 0 < size < len(train.texts) or not test.texts:
            raise ValueError(
                "Expected enough texts for each split to have one. Received: "
                f"{len(train.texts)} texts for training and validation and "
                f"{len(test.texts)} for test of {task!r}, "
                f"validation={validation}"
            )
        splits["validation"][task] = LabeledTexts(*(x[:size] for x in train))
        splits["train"][task] = LabeledTexts(*(x[size:] for x in train))
        splits["test"][task] = test
    return TaskData(**splits)


def words_of(text: str) -> list[str]:
    """Splits a text at its spaces, in lower case."""
    return text.lower().split()


def as_tokens(
    data: TaskData,
    vocabulary_size: int,
    max_words: int,
    seed: int,
    split: Callable[[str], list[str]] = words_of,
) -> TaskData:
    """Joins the tasks of a data set of texts, for a model with one input.

    Args:
        data: A `TaskData` as `draw_splits` returns it.
        vocabulary_size: See `fdu_mtl.load_data`.
        max_words: See `fdu_mtl.load_data`.
        seed: Integer, draws the order.
        split: Function that splits a text into its words.

    Returns:
        A `TaskData` of the same splits, each `({"tokens": x}, {task: y})`, and
        with `info["vocabulary"]`.
    """
    rng = np.random.default_rng(seed)
    parts = {
        name: {task: _split(part, split) for task, part in tasks.items()}
        for name, tasks in data.splits.items()
    }
    vocabulary = _vocabulary(parts["train"].values(), vocabulary_size)
    index = {word: i for i, word in enumerate(vocabulary)}
    splits = {
        name: _as_arrays(tasks, index, max_words, rng)
        for name, tasks in parts.items()
    }
    return TaskData(**splits, info={"vocabulary": vocabulary})


def with_labels_of_all(
    split: dict[str, LabeledTexts],
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Yields `(text, {task: label})`, where the label of other tasks is NaN.

    Labels are float32 arrays of shape `(1,)`.
    """
    for task, part in split.items():
        for text, label in zip(*part):
            targets = {name: np.full(1, np.nan, "float32") for name in split}
            targets[task][0] = label
            yield text, targets


def check_tasks(tasks: Sequence[str], known: Sequence[str]) -> None:
    """Raises a `ValueError` unless `tasks` are different ones of `known`."""
    unknown = [task for task in tasks if task not in known]
    if unknown or not len(tasks) or len({*tasks}) < len(tasks):
        raise ValueError(
            f"Expected `tasks` to be different ones of {list(known)}. "
            f"Received: tasks={tasks}"
        )


def _draw(part, count, rng):
    order = rng.permutation(len(part.texts))[:count]
    return LabeledTexts([part.texts[i] for i in order], part.labels[order])


def _split(part, split):
    return LabeledTexts([split(text) for text in part.texts], part.labels)


def _vocabulary(parts, size):
    # Words that are as frequent as each other are in the order of the alphabet,
    # so that the cut at `size` depends on the texts alone. scikit-learn's
    # `CountVectorizer` leaves open which of them `max_features` keeps.
    counts = collections.Counter(
        word for part in parts for words in part.texts for word in words
    )
    by_count = sorted(counts, key=lambda word: (-counts[word], word))
    return ["", "[UNK]", *by_count[: size - 2]]


def _as_arrays(split, index, max_words, rng):
    texts = [text for part in split.values() for text in part.texts]
    tokens = np.full((len(texts), max_words), PADDING, "int32")
    for row, words in zip(tokens, texts):
        known = [index.get(word, UNKNOWN) for word in words[:max_words]]
        row[: len(known)] = known
    targets = {}
    start = 0
    for task, part in split.items():
        targets[task] = np.full((len(texts), 1), np.nan, "float32")
        targets[task][start : start + len(part.texts), 0] = part.labels
        start += len(part.texts)
    order = rng.permutation(len(texts))
    return (
        {"tokens": tokens[order]},
        {task: labels[order] for task, labels in targets.items()},
    )
