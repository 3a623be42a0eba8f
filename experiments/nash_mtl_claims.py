"""Nash-MTL: what its weights cost if they are solved rarely, and their scale.

Two claims of the Nash-MTL paper, on QM9 with the data and network of
`qm9_tuned.py`, one learning rate for all:

- The bargaining need not be solved in each step: with weights of the last 5 or
  50 steps (`update_every`) Δm hardly changes, and a step takes little more than
  one of equal weighting. Here all task gradients are those of the parameters,
  as in the paper.
- A factor of one task's loss does not change the solution: with the loss of
  `u0` times 100, Nash-MTL learns the same, and equal weighting does not. Told
  by the validation errors after each epoch: how far the two runs of a seed are
  apart, as the largest relative difference over the tasks, with the gradients
  of the features. Rounding moves both runs apart as they go on, and as a
  measure of that there is a third run, with a loss times 1.0001.

    python experiments/nash_mtl_claims.py
    python experiments/nash_mtl_claims.py --molecules 200 --epochs 2 --seeds 0 \
        --output-dir /tmp/nash

Δm is against the models of one task each in `qm9_tuned.json` beside this
script. The runs are kept in `nash_mtl_claims_*_runs.jsonl`: what is there is
not trained again. The results are in `nash_mtl_claims.json` and `.png`. For
times that others can compare, nothing else may run.

Reference:

- Navon et al., "Multi-Task Learning as a Bargaining Game", ICML 2022,
  https://arxiv.org/abs/2202.01017
"""

import argparse
import json
from pathlib import Path

import keras
import numpy as np
import qm9_tuned

import keras_mtl
from keras_mtl.backend import files
from keras_mtl.benchmarking import Setting
from keras_mtl.weightings import NashMTL

FOLDER = Path(__file__).parent
UPDATES = (1, 5, 50)
SCALED, FACTORS = "u0", (1.0, 100.0, 1.0001)


def updates(problem, arguments):
    """Returns Δm and the time of a step for each `update_every`."""
    weightings = {"equal": "equal"}
    for steps in UPDATES:
        weightings[f"update_every={steps}"] = NashMTL(update_every=steps)
    result = compare(problem, arguments, weightings, "updates")
    return {
        label: {
            "delta_m": entry["delta_m"],
            "difference_to_equal": entry["differences"]["delta_m"],
            "relative_time": entry["relative_time"],
        }
        for label, entry in result.summary().items()
    }


def scales(problem, arguments):
    """Returns how far runs are apart, an epoch each, by weighting and factor.

    The entries are the medians over the seeds of the largest relative
    difference of a task's validation error.
    """
    methods = {
        "equal": lambda: "equal",
        "nash_mtl": lambda: NashMTL(gradients="features"),
    }
    settings = {}
    for name, make in methods.items():
        for factor in FACTORS:
            weights = {task: 1.0 for task in problem.metrics}
            weights[SCALED] = factor
            settings[f"{name}, x {factor:g}"] = Setting(
                make(), compile_args={"loss_weights": weights}
            )
    result = compare(problem, arguments, settings, "scales")
    apart = {}
    for name in methods:
        for factor in FACTORS[1:]:
            pair = f"{name}, x 1", f"{name}, x {factor:g}"
            apart[pair[1]] = np.median(
                [
                    distances(problem, result.histories(seed), *pair)
                    for seed in arguments.seeds
                ],
                axis=0,
            ).tolist()
    changes = {x: y["delta_m"] for x, y in result.summary().items()}
    return {"apart": apart, "delta_m": changes}


def distances(problem, histories, one, other):
    keys = [f"val_{task}_mae" for task in problem.metrics]
    first, second = (
        np.array([histories[label][key] for key in keys])
        for label in (one, other)
    )
    return np.max(np.abs(second / first - 1), axis=0)


def compare(problem, arguments, weightings, name):
    rate = arguments.learning_rate

    def compile_args(epochs):
        return problem.compile_args(rate, epochs)

    return keras_mtl.benchmark(
        problem.build,
        problem.data.train,
        compile_args=compile_args,
        weightings=weightings,
        seeds=arguments.seeds,
        epochs=arguments.epochs,
        batch_size=problem.batch_size,
        validation_data=problem.data.validation,
        test_data=problem.data.test,
        metrics=problem.metrics,
        scale=problem.scale,
        baseline=arguments.single_task,
        path=arguments.output_dir / f"nash_mtl_claims_{name}_runs.jsonl",
    )


def draw(content, path):
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(
        1, 2, figsize=(10, 3.8), layout="constrained"
    )
    for label, entry in content["updates"].items():
        mean, deviation = entry["delta_m"]
        left.errorbar(
            entry["relative_time"], mean, deviation, fmt="o", label=label
        )
    left.set_xscale("log")
    left.set_xlabel("time of a step, equal = 1")
    left.set_ylabel("Δm, % (lower is better)")
    left.legend(frameon=False)
    for label, values in content["scales"]["apart"].items():
        is_nash = label.startswith("nash")
        right.plot(
            range(1, len(values) + 1),
            np.maximum(values, 1e-7),
            "o-" if label.endswith("100") else "o:",
            color="C0" if is_nash else "C3",
            ms=3,
            label=label,
        )
    right.set_yscale("log")
    right.set_xlabel("epoch")
    right.set_ylabel(f"largest change by a factor of {SCALED}'s loss")
    right.legend(frameon=False)
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--molecules", type=int, default=5000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=4e-3)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--data-dir", help="folder with the CSV files of QM9")
    parser.add_argument(
        "--single-task", type=Path, default=FOLDER / "qm9_tuned.json"
    )
    parser.add_argument("--output-dir", type=Path, default=FOLDER)
    return parser.parse_args(argv)


def main(argv=None):
    arguments = parse(argv)
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    text = arguments.single_task.read_text(encoding="utf-8")
    problem = qm9_tuned.problem_of(arguments)
    arguments.single_task = {
        f"{task}_mae": json.loads(text)["single_task"][f"{task}_mae"]
        for task in problem.metrics
    }
    content = {
        "backend": keras.backend.backend(),
        "molecules": arguments.molecules,
        "learning_rate": arguments.learning_rate,
        "epochs": arguments.epochs,
        "seeds": list(arguments.seeds),
        "updates": updates(problem, arguments),
        "scales": scales(problem, arguments),
    }
    path = arguments.output_dir / "nash_mtl_claims.json"
    files.write(path, files.to_json(content, indent=1) + "\n")
    draw(content, path.with_suffix(".png"))
    print(f"Saved {path} and {path.with_suffix('.png')}")


if __name__ == "__main__":
    main()
