"""GLUE: eight tasks of understanding English sentences, or pairs of them.

The files are those of the benchmark's own layout, `glue_data/<task>/train.tsv`
and `dev.tsv` (MNLI: `dev_matched.tsv`). Their test sets, `test.tsv`, have no
labels: `load_test` reads them, and `write_submission` writes predictions for
the server that has the labels.

- `cola`: is a sentence acceptable English? 0 no, 1 yes.
- `mnli`: a premise and a hypothesis; 0 entailment, 1 neutral, 2 contradiction.
- `mrpc`: two sentences of the news; 1 if one paraphrases the other, else 0.
- `qnli`: a question and a sentence; 0 if that has the answer, else 1.
- `qqp`: two questions; 1 if they ask the same, else 0.
- `rte`: a premise and a hypothesis; 0 entailment, 1 not.
- `sst2`: a phrase of a film review; 0 negative, 1 positive.
- `stsb`: how similar are two sentences, from 0 to 5?
- `wnli`: does a sentence follow from another, in which a pronoun stands? 0 no,
  1 yes. It is read where it is asked for, and not one of `TASKS`: its dev set
  contradicts its training set, so that the papers train on the other eight, and
  predict the majority of its training set, 0, for the test (`majority`).

`SIZES` are the numbers of examples of the whole training and dev sets, for a
policy that is proportional to them where the files at hand have fewer:

| task | training | dev |
| --- | --- | --- |
| `cola` | 8,551 | 1,043 |
| `mnli` | 392,702 | 9,815 |
| `mrpc` | 3,668 | 408 |
| `qnli` | 104,743 | 5,463 |
| `qqp` | 363,846 | 40,430 |
| `rte` | 2,490 | 277 |
| `sst2` | 67,349 | 872 |
| `stsb` | 5,749 | 1,500 |
| `wnli` | 635 | 71 |

They are those of the files; the paper's table rounds them, and its figures of
QNLI (108,000) and STS-B (7,000) are those of an earlier version and of all
splits together.

References:

- [Wang et al., 2018](https://arxiv.org/abs/1804.07461), the benchmark and its
  metrics.
- [Glover and Hokamp, 2019](https://arxiv.org/abs/1907.06214), section 4.2: task
  selection on the eight tasks, and `wnli` by majority.
"""

import os
import warnings
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from keras_mtl.backend.files import write
from keras_mtl.datasets.glue_metrics import METRICS
from keras_mtl.datasets.glue_reader import find
from keras_mtl.datasets.glue_reader import parse
from keras_mtl.datasets.glue_reader import read_rows
from keras_mtl.datasets.glue_tasks import TABLE
from keras_mtl.datasets.glue_tasks import TEST_FILES
from keras_mtl.datasets.task_data import TaskData

ALL_TASKS = tuple(TABLE)
# Those that the papers train on.
TASKS = tuple(task for task in TABLE if task != "wnli")
# Numbers of classes; `None` is a regression.
NUM_CLASSES = {t: x.classes and len(x.classes) for t, x in TABLE.items()}
# Numbers of examples of the whole train and dev sets: files may have fewer.
SIZES = {task: item.sizes for task, item in TABLE.items()}


TEST_SETS = tuple(TEST_FILES)
# The number of the lines of WNLI's test, and the majority of its training set.
_WNLI_TEST, _WNLI_MAJORITY = 146, 0


class Examples(NamedTuple):
    """The examples of a task.

    `first` and `second` are lists of `n` sentences; `second` is `None` if the
    task is about single ones. `labels` has shape `(n,)`: int32 classes, or
    float32 for `stsb`.
    """

    first: list[str]
    second: list[str] | None
    labels: np.ndarray


def load_data(
    data_dir: str | os.PathLike,
    tasks: Sequence[str] = TASKS,
    validation: float | None = None,
    seed: int = 0,
) -> TaskData:
    """Loads tasks of GLUE from the files of the benchmark.

    The splits are `train` and, from the files `dev`, `validation`; there is no
    `test`. With the argument `validation`, that split is a part of the training
    files, and `dev` is the `test`, for choices that must not see it.

    Each split is a dict of task to `(x, y)`: `x` has `"first"`, a list of
    sentences, and `"second"` where the task is about pairs of them; `y` are the
    `labels` of `Examples`.

    Quotation marks are part of the sentences. Lines with another number of
    fields than the header, of which the original QQP has a few, are left out
    with a warning.

    Example:

    ```python
    data = glue.load_data("glue_data")
    x, y = data.train["mrpc"]
    x["first"][0], x["second"][0], y[0]
    train, dev = data
    len(dev["cola"].labels)  # 1043
    train, validation, dev = glue.load_data("glue_data", validation=0.1)
    ```

    Args:
        data_dir: The folder `glue_data`, with a folder for each task.
        tasks: Names out of `ALL_TASKS`, by default those of the papers.
        validation: Share of the training files that becomes the validation
            split, drawn at random, or `None` to take the files `dev` for it.
        seed: Integer that is not negative, draws the validation split.

    Returns:
        A `TaskData`. It unpacks to `(train, dev)`, or with `validation` to
        `(train, validation, dev)`, where each is a dict of task to `Examples`,
        the same sentences and labels with names.

    Raises:
        FileNotFoundError: If a file of a task is not there.
        ValueError: If a task is not known, a file has another layout, or a
            split would be empty.
    """
    for task in tasks:
        _check_task(task)
    folder = Path(data_dir).expanduser()
    train, held_out, dev = {}, {}, {}
    for task in tasks:
        train[task] = _load(folder, TABLE[task], "train.tsv")
        dev[task] = _load(folder, TABLE[task], TABLE[task].dev)
        if validation is not None:
            held_out[task], train[task] = _divide(
                train[task], task, validation, seed
            )
    if validation is None:
        return TaskData(_pairs(train), _pairs(dev), items=(train, dev))
    return TaskData(
        _pairs(train),
        _pairs(held_out),
        _pairs(dev),
        items=(train, held_out, dev),
    )


def is_of_pairs(task: str) -> bool:
    """Whether a task is about pairs of sentences.

    Example:

    >>> from keras_mtl.datasets import glue
    >>> glue.is_of_pairs("rte")
    True

    Args:
        task: One of `ALL_TASKS`.

    Returns:
        Boolean.

    Raises:
        ValueError: If the task is not known.
    """
    _check_task(task)
    return len(TABLE[task].sentences) > 1


def _divide(examples, task, share, seed):
    """Returns a share of the examples, and the others in their order."""
    count = len(examples.labels)
    size = round(share * count)
    if not 0 < size < count:
        raise ValueError(
            "Expected `validation` to leave an example for each split. "
            f"Received: validation={share} of {count} examples of {task!r}"
        )
    rng = np.random.default_rng([seed, ALL_TASKS.index(task)])
    order = rng.permutation(count)
    return [
        Examples(
            *(
                None if sentences is None else [sentences[i] for i in part]
                for sentences in examples[:2]
            ),
            examples.labels[part],
        )
        for part in (np.sort(order[:size]), np.sort(order[size:]))
    ]


def load_test(
    data_dir: str | os.PathLike, test_sets: Sequence[str] = TASKS
) -> dict[str, dict[str, list[str]]]:
    """Loads test sets, whose labels only the server of the benchmark has.

    Example:

    ```python
    test = glue.load_test("glue_data", ["cola", "mnli", "mnli_mm"])
    test["cola"]["first"][0]
    ```

    Args:
        data_dir: See `load_data`.
        test_sets: Names out of `TEST_SETS`: the tasks, `"mnli_mm"`, the
            mismatched test set of MNLI, and `"ax"`, the diagnostic one, which
            the model of MNLI predicts.

    Returns:
        Dict of name to `x`, as in `load_data`.

    Raises:
        FileNotFoundError: If a file is not there.
        ValueError: If a name is not known, or a file has another layout.
    """
    folder = Path(data_dir).expanduser()
    return {name: _load_test(folder, name) for name in test_sets}


def majority(labels: ArrayLike, count: int) -> np.ndarray:
    """Predicts the class that is the most frequent one, the baseline for WNLI.

    Example:

    >>> from keras_mtl.datasets import glue
    >>> glue.majority([0, 1, 0], count=2).tolist()
    [0, 0]

    Args:
        labels: Shape `(n,)`, the classes of a training set.
        count: Number of predictions.

    Returns:
        Int32 array of shape `(count,)`. Of classes that are as frequent, it has
        the first.

    Raises:
        ValueError: If there is no label.
    """
    classes, counts = np.unique(np.asarray(labels), return_counts=True)
    if not len(classes):
        raise ValueError("Expected `labels` to have a class. Received: none")
    return np.full(count, classes[np.argmax(counts)], "int32")


def write_submission(
    folder: str | os.PathLike, predictions: Mapping[str, ArrayLike]
) -> list[Path]:
    """Writes the files that the server of the benchmark takes, as a `.zip`.

    Where `"wnli"` is not predicted, its file has the majority class of its
    training set, 0, as in the papers; that has an accuracy of 65.1 %.

    Example:

    ```python
    files = glue.write_submission("submission", predictions)
    # zip -j submission.zip submission/*.tsv
    ```

    Args:
        folder: Folder, which is made if it is not there.
        predictions: Dict of the names of `TEST_SETS` to predictions in the
            order of `load_test`, shape `(n,)`: classes, or similarities for
            `"stsb"`.

    Returns:
        The paths of the files.

    Raises:
        ValueError: If a name is not known, or a prediction is none of the
            task's classes or is not finite.
    """
    folder = Path(folder).expanduser()
    written = {"wnli": np.full(_WNLI_TEST, _WNLI_MAJORITY), **predictions}
    texts = {}
    for name, values in written.items():
        _check_test_set(name)
        lines = _submitted(name, np.asarray(values))
        rows = [f"{i}\t{line}" for i, line in enumerate(lines)]
        texts[name] = "\n".join(["index\tprediction", *rows, ""])
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / TEST_FILES[name].submission for name in texts]
    for path, text in zip(paths, texts.values()):
        write(path, text)
    return paths


def _submitted(name, values):
    """Returns predictions as the server reads them."""
    classes = TABLE[TEST_FILES[name].task].classes
    if classes is None:
        expected = "finite numbers"
        is_valid = np.isfinite(values)
    else:
        expected = f"classes from 0 to {len(classes) - 1}"
        is_valid = np.isin(values, np.arange(len(classes)))
    if values.ndim != 1 or not np.all(is_valid):
        raise ValueError(
            f"Expected the predictions of {name!r} to be {expected}, of the "
            f"shape (n,). Received: {values[~is_valid][:5].tolist()} in an "
            f"array of the shape {values.shape}"
        )
    if classes is None:
        return [f"{x:.3f}" for x in np.clip(values.astype(float), 0, 5)]
    return [classes[int(x)] for x in values]


def _pairs(split):
    """Returns the dict of task to `(x, y)` of a dict of task to `Examples`."""
    pairs = {}
    for task, examples in split.items():
        x = {"first": examples.first}
        if examples.second is not None:
            x["second"] = examples.second
        pairs[task] = x, examples.labels
    return pairs


def metrics(
    task: str, labels: ArrayLike, predictions: ArrayLike
) -> dict[str, float]:
    """Computes the metrics by which GLUE scores a task.

    Matthews, Pearson and Spearman correlations are 0 where the predictions, or
    the labels, are all the same. Correlations need SciPy, and F1 scikit-learn:
    `pip install scipy scikit-learn`.

    Example:

    >>> from keras_mtl.datasets import glue
    >>> glue.metrics("mrpc", [1, 1, 0, 0], [1, 1, 1, 0])
    {'f1': 0.8, 'accuracy': 0.75}

    Args:
        task: One of `TASKS`.
        labels: Shape `(n,)`, as in `Examples`.
        predictions: Shape `(n,)`: classes, or similarities for `stsb`.

    Returns:
        Dict of name to float, at most 1.

    Raises:
        ImportError: If SciPy or scikit-learn is needed, and not installed.
        ValueError: If the task is not known, or the shapes differ.

    Reference:
        [Wang et al., 2018](https://arxiv.org/abs/1804.07461), table 1.
    """
    _check_task(task)
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if labels.ndim != 1 or not labels.size or labels.shape != predictions.shape:
        raise ValueError(
            "Expected `labels` and `predictions` of the same shape (n,). "
            f"Received: shapes {labels.shape} and {predictions.shape}"
        )
    return {
        name: float(METRICS[name](labels, predictions))
        for name in TABLE[task].metrics
    }


def score(task: str, labels: ArrayLike, predictions: ArrayLike) -> float:
    """Computes GLUE's score of a task, the mean of its `metrics`.

    Example:

    >>> from keras_mtl.datasets import glue
    >>> glue.score("stsb", [0.0, 2.5, 5.0], [0.1, 0.2, 0.3])
    1.0

    Args:
        task: One of `TASKS`.
        labels: Shape `(n,)`, as in `Examples`.
        predictions: Shape `(n,)`: classes, or similarities for `stsb`.

    Returns:
        Float, at most 1.

    Raises:
        ImportError: As `metrics`.
        ValueError: As `metrics`.
    """
    values = metrics(task, labels, predictions)
    return sum(values.values()) / len(values)


def _check_task(task):
    if task not in TABLE:
        raise ValueError(
            f"Expected tasks out of {list(ALL_TASKS)}. Received: {task!r}"
        )


def _check_test_set(name):
    if name not in TEST_FILES:
        raise ValueError(
            f"Expected test sets out of {list(TEST_SETS)}. Received: {name!r}"
        )


def _load(folder, task, name):
    path = find(folder, f"{task.folder}/{name}")
    rows, total = read_rows(path, task)
    if len(rows) < total:
        warnings.warn(
            f"Left out {total - len(rows)} of the {total} lines of "
            f"{path}, which do not have {len(rows[0][1])} fields.",
            stacklevel=3,
        )
    return Examples(
        *_sentences(rows, task),
        np.array(
            [parse(row[task.label], task, path, line) for line, row in rows],
            "int32" if task.classes else "float32",
        ),
    )


def _sentences(rows, task):
    columns = [[row[name] for _, row in rows] for name in task.sentences]
    return columns[0], columns[1] if len(columns) > 1 else None


def _load_test(folder, name):
    _check_test_set(name)
    file = TEST_FILES[name]
    path = find(folder, file.source)
    # These files have a header and no labels, whatever those of training have.
    task = TABLE[file.task]._replace(label=None, columns=None)
    rows, total = read_rows(path, task)
    if len(rows) < total:
        whole = {number for number, _ in rows}
        broken = next(i for i in range(2, total + 2) if i not in whole)
        raise ValueError(
            f"Expected every line of {path} to have as many fields as the "
            f"header, since the server counts them. Received: line {broken}, "
            "which has not"
        )
    first, second = _sentences(rows, task)
    return {"first": first} | ({} if second is None else {"second": second})
