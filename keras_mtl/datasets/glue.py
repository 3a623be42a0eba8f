"""GLUE: eight tasks of understanding English sentences, or pairs of them.

The files are those of the benchmark's own layout, `glue_data/<task>/train.tsv`
and `dev.tsv` (MNLI: `dev_matched.tsv`). Their test sets have no labels, and are
not read. The ninth task, WNLI, is left out, as the papers do.

- `cola`: is a sentence acceptable English? 0 no, 1 yes.
- `mnli`: a premise and a hypothesis; 0 entailment, 1 neutral, 2 contradiction.
- `mrpc`: two sentences of the news; 1 if one paraphrases the other, else 0.
- `qnli`: a question and a sentence; 0 if that has the answer, else 1.
- `qqp`: two questions; 1 if they ask the same, else 0.
- `rte`: a premise and a hypothesis; 0 entailment, 1 not.
- `sst2`: a phrase of a film review; 0 negative, 1 positive.
- `stsb`: how similar are two sentences, from 0 to 5?

References:

- [Wang et al., 2018](https://arxiv.org/abs/1804.07461), the benchmark and its
  metrics.
"""

import csv
import io
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from keras_mtl.backend.files import read_text
from keras_mtl.datasets.task_data import TaskData


class _Task(NamedTuple):
    folder: str
    sentences: tuple  # the names of their columns
    label: str
    classes: tuple | None  # as the files write them; None: a number
    metrics: tuple
    sizes: tuple  # of the whole train and dev sets
    dev: str = "dev.tsv"
    columns: tuple | None = None  # of files without a header


_NUMBERED = ("0", "1")
_ENTAILMENT = ("entailment", "not_entailment")
_TASKS = {
    "cola": _Task(
        "CoLA",
        ("sentence",),
        "label",
        _NUMBERED,
        ("matthews",),
        (8551, 1043),
        columns=("source", "label", "mark", "sentence"),
    ),
    "mnli": _Task(
        "MNLI",
        ("sentence1", "sentence2"),
        "gold_label",
        ("entailment", "neutral", "contradiction"),
        ("accuracy",),
        (392702, 9815),
        dev="dev_matched.tsv",
    ),
    "mrpc": _Task(
        "MRPC",
        ("#1 String", "#2 String"),
        "Quality",
        _NUMBERED,
        ("f1", "accuracy"),
        (3668, 408),
    ),
    "qnli": _Task(
        "QNLI",
        ("question", "sentence"),
        "label",
        _ENTAILMENT,
        ("accuracy",),
        (104743, 5463),
    ),
    "qqp": _Task(
        "QQP",
        ("question1", "question2"),
        "is_duplicate",
        _NUMBERED,
        ("f1", "accuracy"),
        (363846, 40430),
    ),
    "rte": _Task(
        "RTE",
        ("sentence1", "sentence2"),
        "label",
        _ENTAILMENT,
        ("accuracy",),
        (2490, 277),
    ),
    "sst2": _Task(
        "SST-2",
        ("sentence",),
        "label",
        _NUMBERED,
        ("accuracy",),
        (67349, 872),
    ),
    "stsb": _Task(
        "STS-B",
        ("sentence1", "sentence2"),
        "score",
        None,
        ("pearson", "spearman"),
        (5749, 1500),
    ),
}

TASKS = tuple(_TASKS)
# Numbers of classes; `None` is a regression.
NUM_CLASSES = {t: x.classes and len(x.classes) for t, x in _TASKS.items()}
# Numbers of examples of the whole train and dev sets: files may have fewer.
SIZES = {task: item.sizes for task, item in _TASKS.items()}


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
    data_dir: str | os.PathLike, tasks: Sequence[str] = TASKS
) -> TaskData:
    """Loads tasks of GLUE from the files of the benchmark.

    The splits are `train` and, from the files `dev`, `validation`; there is no
    `test`. Each is a dict of task to `(x, y)`: `x` has `"first"`, a list of
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
    ```

    Args:
        data_dir: The folder `glue_data`, with a folder for each task.
        tasks: Names out of `TASKS`.

    Returns:
        A `TaskData`. It unpacks to `(train, dev)`, where each is a dict of task
        to `Examples`, the same sentences and labels with names.

    Raises:
        FileNotFoundError: If a file of a task is not there.
        ValueError: If a task is not known, or a file has another layout.
    """
    for task in tasks:
        _check_task(task)
    folder = Path(data_dir).expanduser()
    train, dev = {}, {}
    for task in tasks:
        train[task] = _load(folder, _TASKS[task], "train.tsv")
        dev[task] = _load(folder, _TASKS[task], _TASKS[task].dev)
    return TaskData(_pairs(train), _pairs(dev), items=(train, dev))


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
        name: float(_METRICS[name](labels, predictions))
        for name in _TASKS[task].metrics
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
    if task not in _TASKS:
        raise ValueError(
            f"Expected tasks out of {list(TASKS)}. Received: {task!r}"
        )


def _load(folder, task, name):
    path = folder / task.folder / name
    if not path.exists():
        raise FileNotFoundError(
            "Expected `data_dir` to be a folder `glue_data`, with the folder "
            f"{task.folder} and in it {name}. Received: "
            f"data_dir={str(folder)!r}"
        )
    rows = _read_rows(path, task)
    columns = [[row[name] for _, row in rows] for name in task.sentences]
    return Examples(
        columns[0],
        columns[1] if len(columns) > 1 else None,
        np.array(
            [_parse(row[task.label], task, path, line) for line, row in rows],
            "int32" if task.classes else "float32",
        ),
    )


def _read_rows(path, task):
    """Returns the whole lines of a file, a list of `(number, dict)`."""
    # MRPC begins with a byte order mark.
    reader = csv.DictReader(
        io.StringIO(read_text(path, "utf-8-sig")),
        task.columns,
        delimiter="\t",
        quoting=csv.QUOTE_NONE,
    )
    try:
        _check_columns(reader.fieldnames, path, task)
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise ValueError(
            f"Expected {path} to have lines with tabs between their fields. "
            f"Received: line {reader.line_num + 1}, {error}"
        ) from error
    # The reader sets None where a line has too few fields, or too many.
    whole = [(i, x) for i, x in rows if None not in (*x, *x.values())]
    if not whole:
        raise ValueError(
            f"Expected {path} to have lines of {len(reader.fieldnames)} "
            f"fields. Received: {len(rows)} lines, none of which has as many"
        )
    if len(whole) < len(rows):
        warnings.warn(
            f"Left out {len(rows) - len(whole)} of the {len(rows)} lines of "
            f"{path}, which do not have {len(reader.fieldnames)} fields.",
            stacklevel=4,
        )
    return whole


def _check_columns(found, path, task):
    needed = {*task.sentences, task.label}
    if not needed <= {*(found or ())}:
        raise ValueError(
            f"Expected {path} to have the columns {sorted(needed)}, with tabs "
            f"between them. Received: {found}"
        )


def _parse(label, task, path, line):
    try:
        if task.classes:
            return task.classes.index(label)
        # NaN is not from 0 to 5 either.
        if 0 <= float(label) <= 5:
            return float(label)
    except ValueError:
        pass
    expected = "from 0 to 5"
    if task.classes:
        expected = f"out of {list(task.classes)}"
    raise ValueError(
        f"Expected labels {expected}. "
        f"Received: {label[:60]!r} in line {line} of {path}"
    )


def _scipy_stats():
    try:
        from scipy import stats
    except ImportError as error:
        raise ImportError(_MISSING.format("SciPy")) from error
    return stats


def _sklearn_metrics():
    try:
        from sklearn import metrics
    except ImportError as error:
        raise ImportError(_MISSING.format("scikit-learn")) from error
    return metrics


_MISSING = (
    "The metrics of GLUE need {}, which is not installed. Type `pip install "
    "scipy scikit-learn`."
)


def _accuracy(labels, predictions):
    return np.mean(labels == predictions)


def _f1(labels, predictions):
    # Every class but 1 counts as 0, even one that the task does not have.
    return _sklearn_metrics().f1_score(
        labels == 1, predictions == 1, zero_division=0.0
    )


def _correlation(name):
    """Returns the function of SciPy's correlation, 0 where it has none."""

    def correlation(labels, predictions):
        function = getattr(_scipy_stats(), name)
        if not np.ptp(labels) or not np.ptp(predictions):
            return 0.0
        return function(labels, predictions).statistic

    return correlation


_METRICS = {
    "accuracy": _accuracy,
    "f1": _f1,
    # Matthews' correlation of two classes is Pearson's.
    "matthews": _correlation("pearsonr"),
    "pearson": _correlation("pearsonr"),
    "spearman": _correlation("spearmanr"),
}
