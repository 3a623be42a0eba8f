"""The tasks of GLUE: their files, columns, classes, metrics and sizes."""

from typing import NamedTuple


class Task(NamedTuple):
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
TABLE = {
    "cola": Task(
        "CoLA",
        ("sentence",),
        "label",
        _NUMBERED,
        ("matthews",),
        (8551, 1043),
        columns=("source", "label", "mark", "sentence"),
    ),
    "mnli": Task(
        "MNLI",
        ("sentence1", "sentence2"),
        "gold_label",
        ("entailment", "neutral", "contradiction"),
        ("accuracy",),
        (392702, 9815),
        dev="dev_matched.tsv",
    ),
    "mrpc": Task(
        "MRPC",
        ("#1 String", "#2 String"),
        "Quality",
        _NUMBERED,
        ("f1", "accuracy"),
        (3668, 408),
    ),
    "qnli": Task(
        "QNLI",
        ("question", "sentence"),
        "label",
        _ENTAILMENT,
        ("accuracy",),
        (104743, 5463),
    ),
    "qqp": Task(
        "QQP",
        ("question1", "question2"),
        "is_duplicate",
        _NUMBERED,
        ("f1", "accuracy"),
        (363846, 40430),
    ),
    "rte": Task(
        "RTE",
        ("sentence1", "sentence2"),
        "label",
        _ENTAILMENT,
        ("accuracy",),
        (2490, 277),
    ),
    "sst2": Task(
        "SST-2",
        ("sentence",),
        "label",
        _NUMBERED,
        ("accuracy",),
        (67349, 872),
    ),
    "stsb": Task(
        "STS-B",
        ("sentence1", "sentence2"),
        "score",
        None,
        ("pearson", "spearman"),
        (5749, 1500),
    ),
    "wnli": Task(
        "WNLI",
        ("sentence1", "sentence2"),
        "label",
        _NUMBERED,
        ("accuracy",),
        (635, 71),
    ),
}


class TestFile(NamedTuple):
    source: str  # in `glue_data`
    submission: str
    task: str


# The files of the test server.
TEST_FILES = {
    name: TestFile(f"{item.folder}/test.tsv", f"{item.folder}.tsv", name)
    for name, item in TABLE.items()
}
TEST_FILES |= {
    "mnli": TestFile("MNLI/test_matched.tsv", "MNLI-m.tsv", "mnli"),
    "mnli_mm": TestFile("MNLI/test_mismatched.tsv", "MNLI-mm.tsv", "mnli"),
    "ax": TestFile("diagnostic/diagnostic.tsv", "AX.tsv", "mnli"),
}
