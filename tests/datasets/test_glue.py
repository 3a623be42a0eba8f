"""GLUE, read from tiny files in the layout of the benchmark."""

import sys

import numpy as np
import pytest
from scipy import stats

from keras_mtl.datasets import glue
from tests.datasets.real_data import real

pytestmark = pytest.mark.any_backend

HEADERS = {
    "MNLI": "index\tpairID\tsentence1\tsentence2\tlabel1\tgold_label",
    "MRPC": "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String",
    "QNLI": "index\tquestion\tsentence\tlabel",
    "QQP": "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate",
    "RTE": "index\tsentence1\tsentence2\tlabel",
    "SST-2": "sentence\tlabel",
    "STS-B": "index\tgenre\tsentence1\tsentence2\tscore",
    "WNLI": "index\tsentence1\tsentence2\tlabel",
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
    "WNLI": ["0\tIt is.\tA is.\t1", "1\tIt is.\tB is.\t0"],
}
FOLDERS = dict(zip(sorted(glue.ALL_TASKS), sorted(ROWS)))


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
    assert glue.NUM_CLASSES == {t: classes.get(t, 2) for t in glue.ALL_TASKS}
    assert {*glue.ALL_TASKS} - {*glue.TASKS} == {"wnli"}
    assert glue.SIZES["mnli"] == (392702, 9815)
    assert sum(glue.SIZES[task][0] for task in glue.TASKS) == 949_098
    for task, sizes in glue.SIZES.items():
        row = [f"`{task}`", *(f"{size:,}" for size in sizes)]
        assert f"| {' | '.join(row)} |" in glue.__doc__


def test_wnli_is_read_where_it_is_asked_for(data_dir):
    train, dev = glue.load_data(data_dir, ["wnli"])
    assert train["wnli"].second == ["A is.", "B is."]
    assert train["wnli"].labels.tolist() == [1, 0]
    assert dev["wnli"].labels.tolist() == [1]


@pytest.mark.parametrize(
    "labels, expected", [([0, 0, 1], 0), ([1, 0, 1], 1), ([2, 1], 1)]
)
def test_majority(labels, expected):
    found = glue.majority(labels, 3)
    assert found.tolist() == 3 * [expected] and found.dtype == "int32"
    with pytest.raises(ValueError, match="have a class. Received: none"):
        glue.majority([], 3)


def test_validation_from_the_training_files(tmp_path):
    rows = [f"Text {i}.\t{i % 2}" for i in range(20)]
    rte = [f"{i}\tA {i}.\tB {i}.\tentailment" for i in range(20)]
    data_dir = write(tmp_path, {"SST-2": rows, "RTE": rte})
    tasks = ["sst2", "rte"]
    data = glue.load_data(data_dir, tasks, validation=0.25)
    train, validation, dev = data
    assert list(data.splits) == ["train", "validation", "test"]
    assert data.test["sst2"][0]["first"] == dev["sst2"].first
    assert len(dev["sst2"].first) == 19
    assert len(validation["sst2"].labels) == 5
    found = train["sst2"].first + validation["sst2"].first
    assert sorted(found) == sorted(f"Text {i}." for i in range(20))
    for first, _, labels in (train["sst2"], validation["sst2"]):
        assert [int(x.split()[1][:-1]) % 2 for x in first] == labels.tolist()
    assert validation["rte"].second == [
        text.replace("A", "B") for text in validation["rte"].first
    ]
    alone = glue.load_data(data_dir, ["rte"], validation=0.25)
    assert alone[1]["rte"].first == validation["rte"].first
    other = glue.load_data(data_dir, tasks, validation=0.25, seed=1)
    assert other[1]["rte"].first != validation["rte"].first
    with pytest.raises(ValueError, match="validation=0.01 of 20 .* 'sst2'"):
        glue.load_data(data_dir, tasks, validation=0.01)


def write_test(data_dir, name, text):
    path = data_dir / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_test_sets(data_dir):
    write_test(data_dir, "CoLA/test.tsv", "index\tsentence\n0\tAll.\n")
    pairs = "index\tgenre\tsentence1\tsentence2\n0\tx\tA.\tB.\n"
    write_test(data_dir, "MNLI/test_mismatched.tsv", pairs)
    write_test(data_dir, "diagnostic/diagnostic.tsv", pairs)
    assert glue.load_test(data_dir, ["cola", "mnli_mm", "ax"]) == {
        "cola": {"first": ["All."]},
        "mnli_mm": {"first": ["A."], "second": ["B."]},
        "ax": {"first": ["A."], "second": ["B."]},
    }
    write_test(data_dir, "CoLA/test.tsv", "index\tsentence\n0\tA.\n1\n")
    with pytest.raises(ValueError, match="CoLA/test.tsv .*Received: line 3"):
        glue.load_test(data_dir, ["cola"])
    with pytest.raises(FileNotFoundError, match="MNLI and in it test_matched"):
        glue.load_test(data_dir, ["mnli"])
    with pytest.raises(ValueError, match="'mnli_mm', 'ax'.*Received: 'snli'"):
        glue.load_test(data_dir, ["snli"])


def test_submission(tmp_path):
    paths = glue.write_submission(
        tmp_path / "new", {"mnli": [0, 2], "stsb": [2.5, 6.0], "cola": [1, 0]}
    )
    texts = {path.name: path.read_text() for path in paths}
    assert texts.pop("WNLI.tsv").splitlines() == [
        "index\tprediction",
        *(f"{i}\t0" for i in range(146)),
    ]
    assert texts == {
        "MNLI-m.tsv": "index\tprediction\n0\tentailment\n1\tcontradiction\n",
        "STS-B.tsv": "index\tprediction\n0\t2.500\n1\t5.000\n",
        "CoLA.tsv": "index\tprediction\n0\t1\n1\t0\n",
    }
    (path,) = glue.write_submission(tmp_path, {"wnli": [1]})
    assert path.read_text() == "index\tprediction\n0\t1\n"


@pytest.mark.parametrize(
    "predictions, message",
    [
        ({"mnli_mm": [3, 0]}, r"0 to 2.*Received: \[3\]"),
        ({"rte": [[0, 1]]}, r"shape \(n,\).*the shape \(1, 2\)"),
        ({"stsb": [0.0, np.nan]}, r"finite.*Received: \[nan\]"),
        ({"snli": [0]}, "Received: 'snli'"),
    ],
)
def test_wrong_submissions(tmp_path, predictions, message):
    with pytest.raises(ValueError, match=message):
        glue.write_submission(tmp_path / "new", predictions)
    assert not (tmp_path / "new").exists()


def test_real_files():
    train, validation, dev = glue.load_data(
        real("glue_data"), ["cola", "rte"], validation=0.1
    )
    for task in ("cola", "rte"):
        sizes = [len(split[task].labels) for split in (train, validation, dev)]
        assert (sizes[0] + sizes[1], sizes[2]) == glue.SIZES[task]


def test_missing_files(data_dir, tmp_path):
    (data_dir / "MNLI" / "dev_matched.tsv").unlink()
    with pytest.raises(FileNotFoundError, match="MNLI and in it dev_matched"):
        glue.load_data(data_dir, ["mnli"])
    with pytest.raises(FileNotFoundError, match="CoLA.*data_dir=.*nothing"):
        glue.load_data(tmp_path / "nothing")


def test_unknown_task(data_dir):
    with pytest.raises(ValueError, match="'cola'.*Received: 'snli'"):
        glue.load_data(data_dir, ["cola", "snli"])
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
