"""QM9, eleven properties: each weighting against single-task training.

The comparison of table 2 of the IGB paper (Δm against models of one task each)
on a scale that fits two CPU cores: a network of 58,000 weights, the demo's, and
a subset of the molecules, with a learning rate that decays to zero. Every model
has the same trunk, and all are trained for the same number of epochs.

    python experiments/qm9.py
    python experiments/qm9.py --weightings equal igb_v1+nash_mtl --seeds 0
    python experiments/qm9.py --weightings nash_mtl/features upgrad/features
    python experiments/qm9.py --molecules 200 --epochs 2 --output-dir /tmp/qm9

The single-task models are trained once and kept in `qm9_single_task.jsonl`, the
other runs in `qm9_runs.jsonl`: what is there is not trained again. The results
are in `qm9.json` and `qm9.png` beside this script, with those of weightings
that an earlier call compared on the same data, epochs and seeds.

Reference:

- Dai et al., "Improvable Gap Balancing for Multi-Task Learning", UAI 2023,
  https://arxiv.org/abs/2307.15429, section 5.1 and table 2.
"""

import argparse
import json
import time
from pathlib import Path

import keras
import numpy as np

import keras_mtl
from keras_mtl.backend import files
from keras_mtl.datasets import qm9
from keras_mtl.models import message_passing

TASKS = qm9.TASKS
MOLECULES = 5000
BATCH_SIZE = 64
LEARNING_RATE = 4e-3
# The loss-balancing methods of table 2, and what else balances losses here.
LOSS_BALANCING = [
    "equal",
    "scale_invariant",
    "random",
    "random/L",
    "dwa",
    "uncertainty",
    "igb_v1",
    "igb_v2",
    "bandit_mtl",
]
# Gradients with respect to features: those of the parameters take four times
# the time here, and are a name without "/features".
GRADIENT_BALANCING = [
    "nash_mtl/features",
    "imtl_g/features",
    "cagrad/features",
    "pcgrad/features",
    "mgda/features",
    "upgrad/features",
    "fairgrad/features",
    "igb_v1+nash_mtl/features",
]


def weighting_of(label):
    """Returns what `compile` takes: of `"a+b/features"`, a list of two.

    `"random/L"` are random weights of log L, as IGBv2's without its agent.
    """
    parts = []
    for part in label.split("+"):
        name, _, gradients = part.partition("/")
        weighting = keras_mtl.weightings.get(name)
        if gradients == "L":
            weighting = type(weighting)(scale_invariant=True)
        elif gradients:
            weighting = type(weighting)(gradients=gradients)
        parts.append(weighting if gradients else name)
    return parts if len(parts) > 1 else parts[0]


def compile_arguments(tasks, steps):
    rate = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps)
    return {
        "optimizer": keras.optimizers.Adam(rate),
        "loss": dict.fromkeys(tasks, "mse"),
        "metrics": {task: ["mae"] for task in tasks},
    }


def train_single_task(task, seed, data, epochs, steps):
    """Returns the error of a model of one task, in the task's unit."""
    (x, y), _, (x_test, y_test), statistics = data
    keras.utils.set_random_seed(seed)
    model = keras.Model(*message_passing([task]))
    model.compile(**compile_arguments([task], steps))
    settings = dict(batch_size=BATCH_SIZE, verbose=0)
    model.fit(x, {task: y[task]}, epochs=epochs, **settings)
    predictions = model.predict(x_test, **settings)[task]
    errors = np.abs(np.ravel(predictions) - np.ravel(y_test[task]))
    return float(errors.mean() * statistics[task].std)


def single_task(data, arguments, steps):
    """Returns the mean errors over the seeds; trains what is not yet there."""
    path = arguments.output_dir / "qm9_single_task.jsonl"
    done = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        entry = json.loads(line)
        done[tuple(entry["run"])] = entry["mae"]
    errors = {}
    for task in TASKS:
        values = []
        for seed in arguments.seeds:
            run = (arguments.molecules, arguments.epochs, task, seed)
            if run not in done:
                start = time.perf_counter()
                done[run] = train_single_task(
                    task, seed, data, arguments.epochs, steps
                )
                with open(path, "a") as file:
                    entry = {"run": run, "mae": done[run]}
                    file.write(json.dumps(entry) + "\n")
                seconds = time.perf_counter() - start
                print(f"{task}, seed {seed}: {done[run]:.4g} ({seconds:.0f} s)")
            values.append(done[run])
        errors[f"{task}_mae"] = float(np.mean(values))
    return errors


def compare(data, baseline, arguments, steps):
    train, validation, test, statistics = data
    return keras_mtl.benchmark(
        lambda: keras_mtl.MultiTaskModel(*message_passing(TASKS)),
        train,
        compile_args=lambda: compile_arguments(TASKS, steps),
        weightings={
            label: weighting_of(label) for label in arguments.weightings
        },
        seeds=arguments.seeds,
        epochs=arguments.epochs,
        batch_size=BATCH_SIZE,
        validation_data=validation,
        test_data=test,
        metrics=dict.fromkeys(TASKS, "mae"),
        scale={f"{task}_mae": statistics[task].std for task in TASKS},
        baseline=baseline,
        path=arguments.output_dir / "qm9_runs.jsonl",
    )


def with_earlier(content, path):
    """Adds the weightings of an earlier call with the same settings.

    A rank is one among all of them; a relative time is one among those of the
    call.
    """
    if not path.exists():
        return content
    earlier = json.loads(path.read_text())
    if any(earlier[k] != content[k] for k in content if k != "summary"):
        return content
    summary = {**earlier["summary"], **content["summary"]}
    means = {
        label: {key: mean for key, (mean, _) in entry["metrics"].items()}
        for label, entry in summary.items()
    }
    for label, rank in keras_mtl.metrics.mean_rank(means).items():
        summary[label]["mean_rank"] = rank
    return {**content, "summary": summary}


def save(result, baseline, arguments):
    import matplotlib.pyplot as plt

    path = arguments.output_dir / "qm9.json"
    content = {
        "molecules": arguments.molecules,
        "epochs": arguments.epochs,
        "seeds": list(arguments.seeds),
        "single_task": baseline,
        "summary": result.summary(),
    }
    content = with_earlier(content, path)
    files.write(path, files.to_json(content, indent=1) + "\n")
    changes = {x: y["delta_m"] for x, y in content["summary"].items()}
    figure = keras_mtl.plots.delta_m(changes).figure
    figure.savefig(path.with_suffix(".png"), dpi=120, bbox_inches="tight")
    plt.close(figure)
    print(f"Saved {path} and {path.with_suffix('.png')}")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--molecules", type=int, default=MOLECULES)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--weightings",
        nargs="+",
        default=LOSS_BALANCING + GRADIENT_BALANCING,
    )
    parser.add_argument("--data-dir", help="folder with the CSV files of QM9")
    parser.add_argument(
        "--output-dir", type=Path, default=Path(__file__).parent
    )
    parser.add_argument("--only-single-task", action="store_true")
    arguments = parser.parse_args(argv)
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    data = qm9.load_data(
        arguments.molecules, seed=0, data_dir=arguments.data_dir
    )
    data = [
        *((x, {task: y[task] for task in TASKS}) for x, y in data[:3]),
        data[3],
    ]
    size = len(data[0][0]["atoms"])
    steps = -(-size // BATCH_SIZE) * arguments.epochs
    baseline = single_task(data, arguments, steps)
    if arguments.only_single_task:
        return
    result = compare(data, baseline, arguments, steps)
    print(result)
    save(result, baseline, arguments)


if __name__ == "__main__":
    main()
