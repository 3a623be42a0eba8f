"""GLUE, read from tiny files in the layout of the benchmark."""

import sys

import numpy as np
import pytest
from scipy import stats

from keras_mtl.datasets import glue

pytestmark = pytest.mark.any_backend

HEADERS = {
    "MNLI": "index\tpairID\tsentence1\tsentence2\tlabel1\tgold_label",
    "MRPC": "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String",
    "QNLI": "index\tquestion\tsentence\tlabel",
    "QQP": "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate",
    "RTE": "index\tsentence1\tsentence2\tlabel",
    "SST-2": "sentence\tlabel",
    "STS-B": "index\tgenre\tsentence1\tsentence2\tscore",
}
ROWS = {
    "CoLA": ["gj04\t1\t\tOne more.", 'cj99\t0\t*\tOne "more.', "x\t1\t\tOh."],
    "MNLI": [
        "0\t1n\tHe ate.\tHe slept.\tneutral\tneutral",
        "1\t1e\tHe ate.\tHe has eaten.\tneutral\tentailment",
        "2\t1c\tHe ate.\tHe is hungry.\tneutral\tcontradiction",
    ],
    "MRPC": ["1\t7\t8\tA said B .\tB , said A .", '0\t7\t9\tA said B .\t" C'],
    "QNLI": ["0\tWho?\tThey.\tentailment", "1\tWho?\tNow.\tnot_entailment"],
    "QQP": [
        '0\t1\t2\t"""Why""?\tHow come?\t1',
        "1\t3\t4\tbroken",
        "2\t5\t6\tWhy?\tWhen?\t0",
    ],
    "RTE": ["0\tA.\tB.\tnot_entailment", "1\tA.\tA.\tentailment"],
    "SST-2": ["great fun \t1", "a cliché . \t0"],
    "STS-B": ["0\tnews\tA.\tB.\t2.750", "1\tnews\tA.\tA.\t5.000"],
}
FOLDERS = dict(zip(sorted(glue.TASKS), sorted(ROWS)))


def write(folder, rows=ROWS, headers=HEADERS):
    for name, lines in rows.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        lines = [headers[name], *lines] if name in headers else lines
        dev = "dev_matched.tsv" if name == "MNLI" else "dev.tsv"
        for file, part in (("train.tsv", lines), (dev, lines[:-1])):
            text = "\n".join(part) + "\n"
            (folder / name / file).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def data_dir(tmp_path):
    return write(tmp_path / "glue_data")


@pytest.mark.filterwarnings("ignore:Left out 1 of the")
def test_all_tasks_are_read(data_dir):
    train, dev = glue.load_data(data_dir)
    assert list(train) == list(dev) == list(glue.TASKS)
    for task in glue.TASKS:
        first, second, labels = train[task]
        assert (
            len(first)
            == len(labels)
            == len(ROWS[FOLDERS[task]]) - (task == "qqp")
        )
        assert second is None or len(second) == len(first)
        assert (second is None) == (task in ("cola", "sst2"))
        assert labels.dtype == ("float32" if task == "stsb" else "int32")
    assert len(dev["mnli"].labels) == 2


def test_sentences_and_labels(data_dir):
    tasks = ["cola", "mnli", "mrpc", "rte", "sst2", "stsb"]
    train, dev = glue.load_data(data_dir, tasks)
    assert list(train) == tasks
    first, second, labels = train["cola"]
    assert first == ["One more.", 'One "more.', "Oh."] and second is None
    assert labels.tolist() == [1, 0, 1]
    assert dev["cola"].first == ["One more.", 'One "more.']
    assert train["mnli"].second[2] == "He is hungry."
    # The labels are neither those of the first annotator, nor in the order of
    # the alphabet.
    assert train["mnli"].labels.tolist() == [1, 0, 2]
    assert train["mrpc"].labels.tolist() == [1, 0]
    assert train["mrpc"].second == ["B , said A .", '" C']
    assert train["rte"].labels.tolist() == [1, 0]
    assert train["sst2"].first[1] == "a cliché . "
    assert train["stsb"].labels.tolist() == [2.75, 5.0]


def test_quotation_marks_and_broken_lines(data_dir):
    with pytest.warns(UserWarning, match="Left out 1 of the 3 lines.*6 fields"):
        train, _ = glue.load_data(data_dir, ["qqp"])
    assert train["qqp"].first == ['"""Why""?', "Why?"]
    assert train["qqp"].labels.tolist() == [1, 0]


def test_lines_with_too_many_fields(tmp_path):
    rows = ["A.\t1", "B.\tC.\t1", "D.\t0"]
    data_dir = write(tmp_path, {"SST-2": rows})
    with pytest.warns(UserWarning, match="Left out 1 of the"):
        train, _ = glue.load_data(data_dir, ["sst2"])
    assert train["sst2"].first == ["A.", "D."]


def test_other_line_ends(tmp_path):
    data_dir = write(tmp_path, {"SST-2": ["A.\t1\r", "B.\t0\r", "C.\t1"]})
    train, dev = glue.load_data(str(data_dir), ["sst2"])
    assert train["sst2"].labels.tolist() == [1, 0, 1]


def test_numbers_of_classes_and_sizes():
    classes = {"stsb": None, "mnli": 3}
    assert glue.NUM_CLASSES == {t: classes.get(t, 2) for t in glue.TASKS}
    assert glue.SIZES["mnli"] == (392702, 9815)
    assert sum(train for train, _ in glue.SIZES.values()) == 949_098


def test_missing_files(data_dir, tmp_path):
    (data_dir / "MNLI" / "dev_matched.tsv").unlink()
    with pytest.raises(FileNotFoundError, match="MNLI and in it dev_matched"):
        glue.load_data(data_dir, ["mnli"])
    with pytest.raises(FileNotFoundError, match="CoLA.*data_dir=.*nothing"):
        glue.load_data(tmp_path / "nothing")


def test_unknown_task(data_dir):
    with pytest.raises(ValueError, match="'cola'.*Received: 'wnli'"):
        glue.load_data(data_dir, ["cola", "wnli"])
    with pytest.raises(ValueError, match="Received: 'CoLA'"):
        glue.score("CoLA", [1], [1])


@pytest.mark.parametrize(
    "folder, header, rows, message",
    [
        ("SST-2", "text,label", ["A.,1"], "columns.*sentence.*Received"),
        ("SST-2", "sentence\tlabel", ["A."], "2 fields. Received: 2 lines"),
        ("SST-2", "sentence\tlabel", ["A.\t2"], "'0', '1'.*Received: '2'"),
        (
            "RTE",
            HEADERS["RTE"],
            ["0\tA.\tB.\tyes"],
            "'yes' in line 2 of .*train.tsv",
        ),
        ("STS-B", HEADERS["STS-B"], ["0\tn\tA.\tB.\thigh"], "'high'.*STS-B"),
        ("STS-B", HEADERS["STS-B"], ["0\tn\tA.\tB.\t5.5"], "0 to 5.*'5.5'"),
        ("STS-B", HEADERS["STS-B"], ["0\tn\tA.\tB.\tnan"], "0 to 5.*'nan'"),
        ("SST-2", "sentence\tlabel", ["A" * 200000 + "\t1"], "line 2, field"),
        ("SST-2", "sentence" * 20000, ["A.\t1"], "line 1, field larger"),
    ],
)
def test_other_layouts(tmp_path, folder, header, rows, message):
    data_dir = write(tmp_path, {folder: [*rows, *rows]}, {folder: header})
    task = {folder: task for task, folder in FOLDERS.items()}[folder]
    with pytest.raises(ValueError, match=message):
        glue.load_data(data_dir, [task])


def test_other_encoding(data_dir):
    path = data_dir / "CoLA" / "train.tsv"
    path.write_bytes(path.read_bytes() + "x\t1\t\tCaf\xe9.\n".encode("latin1"))
    with pytest.raises(ValueError, match=f"{path} .*in utf-8.*: line 4, "):
        glue.load_data(data_dir, ["cola"])


def test_empty_file(tmp_path):
    data_dir = write(tmp_path, {"SST-2": []}, {})
    (data_dir / "SST-2" / "train.tsv").write_text("")
    with pytest.raises(ValueError, match="columns.*Received: None"):
        glue.load_data(data_dir, ["sst2"])


def test_metrics_are_those_of_scipy_and_the_formulas():
    rng = np.random.default_rng(0)
    labels = np.round(rng.uniform(0, 5, 200), 1)
    predictions = np.round(labels + rng.normal(size=200), 1)
    found = glue.metrics("stsb", labels.astype("float32"), predictions)
    assert list(found) == ["pearson", "spearman"]
    expected = stats.pearsonr(labels, predictions).statistic
    assert found["pearson"] == pytest.approx(expected, 1e-6)
    # Ties, in both, have the mean of their ranks.
    expected = stats.spearmanr(labels, predictions).statistic
    assert found["spearman"] == pytest.approx(expected, 1e-12)
    assert glue.score("stsb", labels, predictions) == pytest.approx(
        np.mean([*found.values()]), 1e-6
    )

    labels = rng.integers(0, 2, 200)
    predictions = np.where(rng.random(200) < 0.3, 1 - labels, labels)
    tp, fp, fn, tn = (
        int(np.sum((labels == x) & (predictions == y)))
        for x, y in [(1, 1), (0, 1), (1, 0), (0, 0)]
    )
    product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    matthews = (tp * tn - fp * fn) / product**0.5
    assert glue.score("cola", labels, predictions) == pytest.approx(matthews)
    precision, recall = tp / (tp + fp), tp / (tp + fn)
    for task in "mrpc", "qqp":
        assert glue.metrics(task, labels, predictions) == pytest.approx(
            {
                "f1": 2 * precision * recall / (precision + recall),
                "accuracy": (tp + tn) / 200,
            }
        )
    for task in "mnli", "qnli", "rte", "sst2":
        assert glue.metrics(task, labels, predictions) == pytest.approx(
            {"accuracy": (tp + tn) / 200}
        )


@pytest.mark.parametrize(
    "task, module, name",
    [
        ("stsb", "scipy", "SciPy"),
        ("cola", "scipy", "SciPy"),
        ("mrpc", "sklearn", "scikit-learn"),
    ],
)
def test_says_what_to_install(monkeypatch, task, module, name):
    monkeypatch.setitem(sys.modules, module, None)
    message = f"need {name}.*pip install scipy scikit-learn`"
    with pytest.raises(ImportError, match=message):
        glue.metrics(task, [0, 1], [0, 1])
    # Accuracy alone needs no library.
    assert glue.metrics("rte", [0, 1], [0, 0]) == {"accuracy": 0.5}


def test_metrics_that_are_not_defined_are_zero():
    assert glue.score("cola", [0, 1, 1], [1, 1, 1]) == 0.0
    assert glue.score("stsb", [0.0, 1.0, 5.0], [0.1, 0.1, 0.1]) == 0.0
    assert glue.metrics("mrpc", [0, 0], [0, 0]) == {"f1": 0.0, "accuracy": 1.0}


def test_a_prediction_that_is_not_finite_is_no_score():
    found = glue.metrics("stsb", [0.0, 1.0, 5.0], [0.1, np.nan, 0.3])
    assert np.isnan([*found.values()]).all()
    assert np.isnan(glue.score("stsb", [0.0, 1.0, 5.0], [0.1, np.nan, 0.3]))


@pytest.mark.parametrize("predictions", [[1], [[1], [0]], []])
def test_shapes(predictions):
    labels = [1, 0] if len(predictions) else []
    with pytest.raises(ValueError, match=r"shape \(n,\). Received: shapes"):
        glue.score("rte", labels, predictions)
