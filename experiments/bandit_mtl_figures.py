"""BanditMTL: what ρ and η_p do, and how p moves.

Figures 5 to 9 of the paper:

- 5: the variance between the tasks' training losses over the epochs, for values
  of ρ, with η_p = 0.5.
- 6: the score of the test, averaged over the tasks, for values of ρ.
- 7: the same for values of η_p, with ρ = 1.2.
- 8 and 9: the weights of the tasks over the epochs, which for BanditMTL are
  T p, beside those of Uncertainty, GradNorm and MGDA-UB.

    python experiments/bandit_mtl_figures.py sentiment --data-dir fdu_mtl
    python experiments/bandit_mtl_figures.py topics --data-dir 20news
    python experiments/bandit_mtl_figures.py qm9
    python experiments/bandit_mtl_figures.py sentiment --data-dir fdu_mtl \
        --texts 60 --epochs 2 --seeds 0 --rho 0 1.2 --eta 0.5 \
        --output-dir /tmp/bandit

- `sentiment` and `topics`: data and network of `text_classification.py`, the
  paper's but for the number of filters. A text has the label of its own task,
  and those of the other tasks are missing, so that the loss of a task is the
  mean over its own texts in a batch. 20 epochs take the place of 3000. The
  score is the accuracy.
- `qm9`: eleven regressions, with the network of `qm9.py`. The score is the mean
  absolute error in standard deviations of the targets: lower is better.

The paper does not list its values of ρ and η_p. The runs are kept in
`bandit_mtl_<data>_runs.jsonl`: what is there is not trained again. The results
are in `bandit_mtl_<data>.json`, `bandit_mtl_<data>.png` (figures 5 to 7) and
`bandit_mtl_<data>_weights.png` (of the first seed).

Reference:

- Mao et al., "BanditMTL: Bandit-based Multi-task Learning for Text
  Classification", ACL 2021, https://aclanthology.org/2021.acl-long.428/,
  sections 5.3 and 5.6 to 5.8.
"""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import qm9 as qm9_experiment
import text_classification

import keras_mtl
from keras_mtl import weightings
from keras_mtl.backend import files
from keras_mtl.datasets import qm9
from keras_mtl.models import message_passing

RHOS = (0.0, 0.4, 0.8, 1.2, 1.6, 2.0)
ETAS = (0.1, 0.3, 0.5, 0.7, 0.9, 1.1)
# With which the other of the two is varied.
RHO, ETA = 1.2, 0.5


class Problem(NamedTuple):
    """What is trained, and how it is measured."""

    train: tuple
    test: tuple
    tasks: tuple
    build: Callable
    compile: Callable
    batch_size: int
    metric: str
    higher_is_better: bool
    # The layers at which GradNorm looks.
    last_shared: str | list
    uncertainty_form: str


def text_problem(arguments):
    if arguments.data_dir is None:
        raise SystemExit(f"{arguments.data} needs --data-dir, its folder")
    problem = text_classification.problem_of(arguments)
    rate, epochs = arguments.learning_rate, arguments.epochs
    return Problem(
        problem.data.train,
        problem.data.test,
        tuple(problem.metrics),
        problem.build,
        compile=lambda: problem.compile_args(rate, epochs),
        batch_size=problem.batch_size,
        metric="accuracy",
        higher_is_better=True,
        last_shared=[
            layer.name
            for layer in problem.build().layers
            if isinstance(layer, keras.layers.Conv1D)
        ],
        uncertainty_form="classification",
    )


def qm9_problem(arguments):
    tasks = tuple(arguments.tasks or qm9_experiment.TASKS)
    *splits, _ = qm9.load_data(
        arguments.molecules, seed=0, data_dir=arguments.data_dir
    )
    splits = [(x, {task: y[task] for task in tasks}) for x, y in splits]
    batch_size = qm9_experiment.BATCH_SIZE
    size = len(splits[0][0]["atoms"])
    steps = -(-size // batch_size) * arguments.epochs
    return Problem(
        splits[0],
        splits[2],
        tasks,
        build=lambda: keras_mtl.MultiTaskModel(*message_passing(tasks)),
        compile=lambda: qm9_experiment.compile_arguments(tasks, steps),
        batch_size=batch_size,
        metric="mae",
        higher_is_better=False,
        last_shared="last",
        uncertainty_form="regression",
    )


PROBLEMS = {
    "sentiment": text_problem,
    "topics": text_problem,
    "qm9": qm9_problem,
}


def label(rho, eta):
    return f"rho={rho:g}, eta={eta:g}"


def compared(problem, arguments):
    """Returns the weightings of all figures, dict of label to weighting."""
    pairs = [
        (RHO, ETA),
        *((rho, ETA) for rho in arguments.rho),
        *((RHO, eta) for eta in arguments.eta),
    ]
    return {
        **{label(*pair): weightings.BanditMTL(*pair) for pair in pairs},
        "uncertainty": weightings.Uncertainty(problem.uncertainty_form),
        "gradnorm": weightings.GradNorm(shared=problem.last_shared),
        "mgda": weightings.MGDA(gradients="features"),
    }


def compare(problem, arguments):
    keys = [f"{task}_{problem.metric}" for task in problem.tasks]
    return keras_mtl.benchmark(
        problem.build,
        problem.train,
        compile_args=problem.compile,
        weightings=compared(problem, arguments),
        seeds=arguments.seeds,
        epochs=arguments.epochs,
        batch_size=problem.batch_size,
        test_data=problem.test,
        metrics=keys,
        higher_is_better=keys if problem.higher_is_better else (),
        path=output_path(arguments, "_runs.jsonl"),
    )


def summarize(result, arguments):
    """Returns what the figures show, by label."""
    summary = {}
    for name in result.labels:
        scores = [
            float(np.mean([*result.results(name, seed).values()]))
            for seed in arguments.seeds
        ]
        histories = [result.histories(seed)[name] for seed in arguments.seeds]
        summary[name] = {
            "score": float(np.mean(scores)),
            "scores": scores,
            "task_variance": np.mean(
                [history["task_variance"] for history in histories], axis=0
            ).tolist(),
            "weights": {
                key.removeprefix("weight/"): values
                for key, values in histories[0].items()
                if key.startswith("weight/")
            },
        }
    return summary


def plot(summary, problem, arguments):
    """Draws figures 5 to 7."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    colors = plt.get_cmap("viridis")(np.linspace(0, 0.85, len(arguments.rho)))
    for rho, color in zip(arguments.rho, colors):
        values = summary[label(rho, ETA)]["task_variance"]
        epochs = range(1, len(values) + 1)
        axes[0].plot(epochs, values, color=color, label=f"ρ = {rho:g}")
    axes[0].set_xlabel("epoch")
    axes[0].set_ylabel("task variance")
    axes[0].legend(frameon=False)
    score = f"mean {problem.metric} of the tasks"
    by_rho = {rho: label(rho, ETA) for rho in arguments.rho}
    by_eta = {eta: label(RHO, eta) for eta in arguments.eta}
    for ax, name, labels in (
        (axes[1], f"ρ (η = {ETA})", by_rho),
        (axes[2], f"η (ρ = {RHO})", by_eta),
    ):
        plot_scores(ax, {x: summary[y]["scores"] for x, y in labels.items()})
        ax.set_xlabel(name)
        ax.set_ylabel(score)
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    write_figure(figure, output_path(arguments, ".png"))


def plot_scores(ax, scores):
    """Draws the mean and each run, dict of value to scores."""
    values = sorted(scores)
    means = [np.mean(scores[x]) for x in values]
    ax.plot(values, means, "o-", color="#0072B2")
    for x in values:
        ax.plot([x] * len(scores[x]), scores[x], ".", color="0.6", zorder=0)


def plot_weights(summary, arguments):
    """Draws figures 8 and 9."""
    names = [label(RHO, ETA), "uncertainty", "gradnorm", "mgda"]
    axes = keras_mtl.plots.task_weights(
        {
            name: {
                f"weight/{task}": values
                for task, values in summary[name]["weights"].items()
            }
            for name in names
        }
    )
    figure = np.ravel(axes)[0].figure
    write_figure(figure, output_path(arguments, "_weights.png"))


def write_figure(figure, path):
    import matplotlib.pyplot as plt

    temporary = path.with_suffix(".tmp.png")
    figure.savefig(temporary, dpi=120, bbox_inches="tight")
    os.replace(temporary, path)
    plt.close(figure)
    print(f"Saved {path}")


def output_path(arguments, suffix):
    return arguments.output_dir / f"bandit_mtl_{arguments.data}{suffix}"


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", choices=PROBLEMS)
    parser.add_argument("--data-dir", help="folder of the data")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rho", type=float, nargs="+", default=list(RHOS))
    parser.add_argument("--eta", type=float, nargs="+", default=list(ETAS))
    parser.add_argument(
        "--output-dir", type=Path, default=Path(__file__).parent
    )
    group = parser.add_argument_group("sentiment and topics")
    group.add_argument("--learning-rate", type=float, default=5e-3)
    text_classification.add_options(group)
    group = parser.add_argument_group("qm9")
    group.add_argument("--molecules", type=int, default=5000)
    return parser.parse_args(argv)


def main(argv=None):
    arguments = parse(argv)
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    problem = PROBLEMS[arguments.data](arguments)
    result = compare(problem, arguments)
    summary = summarize(result, arguments)
    print(f"mean {problem.metric} of the tasks, over {arguments.seeds}:")
    for name, entry in summary.items():
        print(f"{name:20} {entry['score']:.4f}")
    content = {
        "data": arguments.data,
        "tasks": problem.tasks,
        "metric": problem.metric,
        "epochs": arguments.epochs,
        "seeds": list(arguments.seeds),
        "results": summary,
    }
    path = output_path(arguments, ".json")
    files.write(path, files.to_json(content, indent=1) + "\n")
    print(f"Saved {path}")
    plot(summary, problem, arguments)
    plot_weights(summary, arguments)


if __name__ == "__main__":
    main()
