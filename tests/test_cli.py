"""The console command, run as a user runs it."""

import importlib.util
import json
import math
import os
import pathlib
import re
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl.benchmarking import BenchmarkResult
from keras_mtl.cli import demo
from keras_mtl.datasets import qm9
from keras_mtl.weightings.registry import WEIGHTINGS
from keras_mtl_console import main

needs_qm9 = pytest.mark.skipif(
    importlib.util.find_spec("qm9pack") is None,
    reason="needs the molecules of the package qm9pack",
)
SMALL = ["--epochs", "1", "--molecules", "80", "--weightings", "equal"]


@pytest.mark.once
@needs_qm9
def test_demo_prints_plots_and_exports(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    assert main(["demo", *SMALL, "igb_v1+nash_mtl"]) == 0
    printed = capsys.readouterr().out
    assert "homo_mae" in printed and "igb_v1+nash_mtl" in printed
    results = tmp_path / "demo_results"
    assert {path.name for path in results.iterdir()} == {
        *["task_weights.png", "task_losses.png", "delta_m.png"],
        *["results.csv", "results.json"],
    }
    assert json.loads((results / "results.json").read_text())["summary"]
    exported = tmp_path / "saved_models" / "qm9"
    saved = "model.keras" if keras.backend.backend() == "torch" else None
    assert (exported / (saved or "saved_model.pb")).exists()
    # Nothing half-written stays beside it.
    assert list(exported.parent.iterdir()) == [exported]


def test_demo_exports_nothing_that_is_not_finite(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")

    def compare(*args, on_run_end, **kwargs):
        errors = {f"val_{task}_mae": [math.nan] for task in qm9.TASKS}
        record = {
            "label": "equal",
            "seed": 0,
            "seconds_per_step": 1.0,
            "metrics": {"mu_mae": math.nan},
            "history": {"weight/mu": [1.0], "mu_loss": [math.nan], **errors},
        }
        on_run_end(None, record)
        return BenchmarkResult([record], ["mu_mae"], ["equal"])

    split = ({"atoms": np.zeros((1, 1))}, {})
    monkeypatch.setattr(demo, "_load", lambda *args: (split, split, split, {}))
    monkeypatch.setattr(demo, "_compare", compare)
    demo.run_demo(
        *(1, 1, ["equal"]),
        output_dir=tmp_path / "a",
        export_dir=tmp_path / "b",
    )
    assert "Saved no model" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.once
@needs_qm9
def test_benchmark_continues(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    path = tmp_path / "runs.jsonl"
    command = ["benchmark", *SMALL, "--output", str(path), "--seeds"]
    # Another spelling of the name is the same weighting.
    spelled = ["Equal" if word == "equal" else word for word in command]
    assert main([*spelled, "0"]) == 0
    first = path.read_text()
    assert json.loads(first)["label"] == "equal"
    assert main([*command, "0", "1"]) == 0
    assert path.read_text().startswith(first)
    assert len(path.read_text().splitlines()) == 2


@pytest.mark.any_backend
def test_names_of_weightings_are_canonical(monkeypatch, capsys):
    seen = []

    def compare(data, epochs, weightings, **arguments):
        seen.append(weightings)
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "_load", lambda *args: ())
    monkeypatch.setattr(demo, "_compare", compare)
    command = ["benchmark", "--weightings"]
    assert main([*command, "Equal", "IGBv1+Nash-MTL"]) == 130
    assert seen == [
        {"equal": "Equal", "igb_v1+nash_mtl": ["IGBv1", "Nash-MTL"]}
    ]
    assert main([*command, "NashMTL", "nash_mtl"]) == 1
    assert "more than one ['nash_mtl']" in capsys.readouterr().err


@pytest.mark.any_backend
def test_unknown_weighting_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ["demo", "--molecules", "80", "--weightings", "nash"]
    assert main(arguments) == 1
    assert "Did you mean 'nash_mtl'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.any_backend
@pytest.mark.parametrize("option", ["--epochs", "--molecules"])
@pytest.mark.parametrize("value", ["abc", "0", "-3", "1.5"])
def test_counts_are_positive_integers(option, value, capsys):
    with pytest.raises(SystemExit):
        main(["demo", option, value])
    expected = f"{option}: Expected a positive integer. Received: '{value}'"
    assert expected in capsys.readouterr().err


@pytest.mark.any_backend
@pytest.mark.parametrize("words", ["demo --seed -1", "benchmark --seeds 0 x"])
def test_seeds_are_not_negative(words, capsys):
    with pytest.raises(SystemExit):
        main(words.split())
    assert "Expected 0 or a positive integer" in capsys.readouterr().err


@pytest.mark.any_backend
@pytest.mark.parametrize(
    "words, received, choices",
    [
        ("dmeo", "'dmeo'", "'demo', 'benchmark', 'methods', 'doctor'"),
        ("methods --kind los", "'los'", "'loss', 'gradient', 'wrapper'"),
        ("methods --cost 2", "'2'", "'1', 'T'"),
        ("methods --needs x", "'x'", "'none', 'positive-losses', 'epochs',"),
        ("demo --backend numpy", "'numpy'", "'tensorflow', 'jax', 'torch'"),
    ],
)
def test_choices_are_named(words, received, choices, capsys):
    with pytest.raises(SystemExit) as exit:
        main(words.split())
    printed = capsys.readouterr().err
    assert exit.value.code == 2
    assert received in printed and choices in printed


# What is asked before anything is to be trained or listed.
QUICK = [
    ["--version"],
    ["--help"],
    ["demo", "--help"],
    ["benchmark", "--help"],
    ["methods", "--help"],
    ["dmeo"],
    ["demo", "--epochs", "abc"],
    ["methods", "--kind", "los"],
]
PARSE = """
import sys
from keras_mtl_console import main
for words in {words}:
    try:
        main(words)
    except SystemExit:
        pass
slow = {{"keras", "keras_mtl", "tensorflow", "jax", "torch", "numpy"}}
print("imported:", sorted(slow & set(sys.modules)))
"""


def in_a_new_process(*command, **variables):
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), **variables}
    return subprocess.run(
        [sys.executable, *command],
        env=environment,
        capture_output=True,
        text=True,
    )


@pytest.mark.any_backend
def test_what_is_quick_imports_nothing_that_is_slow():
    result = in_a_new_process("-c", PARSE.format(words=QUICK))
    version, *_, last = result.stdout.splitlines()
    assert version == keras_mtl.__version__
    assert last == "imported: []"


@pytest.mark.slow
@pytest.mark.any_backend
def test_keras_finds_our_classes_in_a_file(tmp_path):
    """Whatever is imported late, `import keras_mtl` is enough to load."""
    inputs = keras.Input((3,))
    trunk = keras.layers.Dense(4)(inputs)
    outputs = {name: keras.layers.Dense(1)(trunk) for name in "ab"}
    model = keras_mtl.MultiTaskModel(inputs, outputs)
    model.compile("sgd", loss="mse", weighting=["igb_v2", "nash_mtl"])
    path = str(tmp_path / "model.keras")
    model.save(path)
    code = f"""
import keras_mtl
from keras.models import load_model
print(load_model({path!r}).weighting.weightings)
"""
    result = in_a_new_process("-c", code)
    assert "IGBv2" in result.stdout and "NashMTL" in result.stdout


# The list of methods


def listed(capsys, *options):
    """Returns the names that the command lists, in the lines of `when`."""
    assert main(["methods", *options]) == 0
    known = set(keras_mtl.weightings.names())
    words = [x.split(" ")[0] for x in capsys.readouterr().out.splitlines()]
    return [word for word in words if word in known]


@pytest.mark.any_backend
def test_all_methods_are_listed(capsys):
    names = listed(capsys)
    assert sorted(names) == sorted(keras_mtl.weightings.names())


@pytest.mark.any_backend
def test_methods_are_chosen(capsys):
    free = listed(capsys, "--kind", "loss", "--cost", "1", "--needs", "none")
    assert {"equal", "uncertainty", "bandit_mtl"} <= set(free)
    assert not {"scale_invariant", "dwa", "igb_v1", "sum"} & set(free)
    assert listed(capsys, "--kind", "wrapper") == ["cr_mogm", "samo"]
    both = listed(capsys, "--kind", "gradient", "--needs", "positive-losses")
    assert both == ["db_mtl"]
    assert listed(capsys, "--kind", "gradient", "--cost", "1") == ["gradnorm"]
    epochs = set(listed(capsys, "--needs", "epochs"))
    assert {"dwa", "igb_v1", "igb_v2"} <= epochs
    assert "mgda" in listed(capsys, "--cost", "t")
    assert main(["methods", "--kind", "gradient", "--needs", "none"]) == 1
    assert "no method is of this kind" in capsys.readouterr().out


@pytest.mark.any_backend
def test_lists_say_when_and_what_it_takes(capsys):
    assert main(["methods", "--needs", "positive-losses"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    (famo,) = [line for line in lines if line.startswith("famo ")]
    assert famo[20:] == WEIGHTINGS.facts("famo")["when"]
    text = " ".join(" ".join(lines).split())
    assert "FAMO, Liu et al., FAMO: Fast Adaptive" in text
    assert "Costs 1 backward pass, 2 forward passes. Needs positive" in text


@pytest.mark.any_backend
def test_methods_of_ones_own_are_listed(tmp_path, monkeypatch, capsys):
    (tmp_path / "their_methods.py").write_text(
        "from keras_mtl import weightings\n"
        '@weightings.register("doubled", paper="Doe, Twice", year=2026)\n'
        "class Doubled(weightings.Weighting):\n"
        "    def compute_weights(self, losses):\n"
        "        return 0.0 * losses + 2.0\n"
        '@weightings.register(cost="2 backward passes", when="Never.")\n'
        "class NoPaper(weightings.GradientWeighting):\n"
        "    def compute_weights(self, losses, gramian):\n"
        "        return 0.0 * losses + 1.0\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "their_methods", raising=False)
    assert main(["methods"]) == 0
    assert "doubled" not in capsys.readouterr().out
    assert main(["methods", "--import", "their_methods"]) == 0
    lines = capsys.readouterr().out.splitlines()
    at = [x.split(" ")[0] for x in lines].index
    doubled, no_paper = at("doubled"), at("no_paper")
    assert doubled < at("sum") < no_paper < at("cr_mogm")
    assert lines[doubled].split() == ["doubled", "–"]
    assert lines[doubled + 1].strip() == "Doubled, Doe, Twice, 2026"
    assert lines[no_paper].split() == ["no_paper", "Never."]
    assert lines[no_paper + 1].strip() == "NoPaper. Costs 2 backward passes"
    monkeypatch.delitem(sys.modules, "their_methods")


@pytest.mark.any_backend
def test_the_page_of_methods_is_what_the_command_prints(capsys):
    page = pathlib.Path(__file__).parent.parent / "docs" / "methods.md"
    text = page.read_text(encoding="utf-8")
    pattern = r"<!-- methods.*?-->\n(.*?)<!-- end of methods -->"
    assert main(["methods", "--markdown"]) == 0
    printed = capsys.readouterr().out
    assert printed == re.search(pattern, text, re.DOTALL).group(1)
    assert printed.count("\n") == 2 + len(keras_mtl.weightings.names())


@pytest.mark.any_backend
def test_a_module_that_does_not_exist_is_named(capsys):
    assert main(["methods", "--import", "no_such_module"]) == 1
    printed = capsys.readouterr().err
    assert "no_such_module" in printed and "doctor" not in printed


@pytest.mark.any_backend
def test_the_doctor_is_named_where_something_is_missing(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "keras_mtl.cli.methods", None)
    monkeypatch.delattr("keras_mtl.cli.methods", raising=False)
    assert main(["methods"]) == 1
    assert "`keras-mtl doctor` shows" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.any_backend
def test_backend_is_chosen():
    """Also where Keras is imported already: then the command starts again."""
    other = "torch" if keras.backend.backend() != "torch" else "jax"
    pytest.importorskip(other)
    # The error comes after the choice, and needs no data.
    command = ["demo", "--backend", other, "--weightings", "nash"]
    result = in_a_new_process("-m", "keras_mtl.cli", *command)
    assert result.returncode == 1
    assert "Unknown weighting: 'nash'" in result.stderr
