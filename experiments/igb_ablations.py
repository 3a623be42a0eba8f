"""What the parts of IGB contribute: Δm without each of them.

Table 3 of the IGB paper: equal weighting, the scale-invariant sum, IGBv1, and
IGBv2 with the mean over the tasks as reward in place of the minimum
("reward / min"), without the ratio α of the learning rates ("reward / α"), and
with other sizes of the replay buffer. Δm is against models of one task each.

    python experiments/igb_ablations.py
    python experiments/igb_ablations.py --data nyuv2 --data-dir nyuv2_96x128
    python experiments/igb_ablations.py --buffer-scale 0.006 --seeds 0 1
    python experiments/igb_ablations.py --molecules 200 --epochs 7 \
        --rows equal igb_v2 "igb_v2, reward / α" --output-dir /tmp/igb

- `qm9`: network, molecules, learning rate and single-task models are those of
  `qm9.py`, whose finished single-task models are not trained again.
- `nyuv2`, on which the paper has the table: data, split, network and the nine
  metrics of `nyuv2.py`. The single-task models are the same network with the
  weight 1 for one task and 0 for the others.

Both are measured after the last epoch, the paper after that with the best
validation. The paper trains for 500 epochs, that is 199,000 steps if its
batches are MTAN's of 2 images: in a training that is shorter than a buffer is
large, the buffer never fills, and all that its size changes is the number of
updates. `--buffer-scale` multiplies the sizes; with the steps of a training
over 199,000 they are the paper's shares of it.

The runs are kept in `igb_ablations_<data>_runs.jsonl`: what is there is not
trained again. The results are in `igb_ablations_<data>.json` and `.png`.

Reference:

- Dai et al., "Improvable Gap Balancing for Multi-Task Learning", UAI 2023,
  https://arxiv.org/abs/2307.15429, section 4.4 and table 3.
"""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import nyuv2 as nyuv2_experiment
import qm9 as qm9_experiment

import keras_mtl
from keras_mtl.backend import files
from keras_mtl.benchmarking import single_task
from keras_mtl.datasets import qm9
from keras_mtl.models import message_passing
from keras_mtl.weightings import IGBv2

# Δm in percent on NYUv2, table 3 of the paper.
PAPER = {
    "equal": 8.45,
    "scale_invariant": 2.36,
    "igb_v1": 1.76,
    "igb_v2, reward / min": 5.97,
    "igb_v2, reward / α": 0.91,
    "igb_v2, buffer 5e3": 4.78,
    "igb_v2": 0.50,
    "igb_v2, buffer 5e4": 2.72,
    "igb_v2, buffer 1e6": 3.48,
}


class Problem(NamedTuple):
    """What is trained, and how it is measured."""

    train: tuple
    validation: tuple
    test: tuple
    build: Callable
    compile: Callable
    batch_size: int
    metrics: dict
    higher_is_better: list | None
    scale: dict
    # Takes the problem and the arguments of the script.
    single_task: Callable


def table_rows(agent, buffer_scale):
    """Returns the rows of table 3, dict of label to weighting."""

    def igb_v2(buffer_size=1e4, **kwargs):
        size = max(1, round(buffer_size * buffer_scale))
        return IGBv2(agent=agent, buffer_size=size, **kwargs)

    return {
        "equal": "equal",
        "scale_invariant": "scale_invariant",
        "igb_v1": "igb_v1",
        "igb_v2, reward / min": igb_v2(reward="mean"),
        "igb_v2, reward / α": igb_v2(scale_reward=False),
        "igb_v2, buffer 5e3": igb_v2(5e3),
        "igb_v2": igb_v2(),
        "igb_v2, buffer 5e4": igb_v2(5e4),
        "igb_v2, buffer 1e6": igb_v2(1e6),
    }


def qm9_problem(arguments):
    tasks = qm9_experiment.TASKS
    *splits, statistics = qm9.load_data(
        arguments.molecules, seed=0, data_dir=arguments.data_dir
    )
    splits = [(x, {task: y[task] for task in tasks}) for x, y in splits]
    batch_size = qm9_experiment.BATCH_SIZE
    steps = number_of_steps(splits[0], batch_size, arguments.epochs)

    def single_task(problem, arguments):
        data = [*splits, statistics]
        return qm9_experiment.single_task(data, arguments, steps)

    return Problem(
        *splits,
        build=lambda: keras_mtl.MultiTaskModel(*message_passing(tasks)),
        compile=lambda: qm9_experiment.compile_arguments(tasks, steps),
        batch_size=batch_size,
        metrics=dict.fromkeys(tasks, ["mae"]),
        higher_is_better=[],
        scale={f"{task}_mae": statistics[task].std for task in tasks},
        single_task=single_task,
    )


def nyuv2_problem(arguments):
    if arguments.data_dir is None:
        raise SystemExit("--data nyuv2 needs --data-dir, the folder of NYUv2")
    problem = nyuv2_experiment.problem_of(arguments)
    rate, epochs = arguments.learning_rate, arguments.epochs
    return Problem(
        *problem.data,
        build=problem.build,
        compile=lambda: problem.compile_args(rate, epochs),
        batch_size=problem.batch_size,
        metrics=problem.metrics,
        higher_is_better=problem.higher_is_better,
        scale={},
        single_task=nyuv2_single_task,
    )


def nyuv2_single_task(problem, arguments):
    """Returns the mean results over the seeds of models of one task each."""
    found = single_task(
        problem.build,
        problem.train,
        **training(problem, arguments),
        path=output_path(arguments, "_single_task_runs.jsonl"),
    )
    names = [f"{t}_{m}" for t, ms in problem.metrics.items() for m in ms]
    return {name: found.results[name] for name in names}


def number_of_steps(train, batch_size, epochs):
    size = len(next(iter(train[1].values())))
    return -(-size // batch_size) * epochs


PROBLEMS = {"qm9": qm9_problem, "nyuv2": nyuv2_problem}


def training(problem, arguments):
    """Returns what the trainings of one and of all tasks have in common."""
    return {
        "compile_args": problem.compile,
        "seeds": arguments.seeds,
        "epochs": arguments.epochs,
        "batch_size": problem.batch_size,
        "validation_data": problem.validation,
        "test_data": problem.test,
    }


def compare(problem, weightings, arguments, baseline):
    return keras_mtl.benchmark(
        problem.build,
        problem.train,
        **training(problem, arguments),
        weightings=weightings,
        metrics=problem.metrics,
        higher_is_better=problem.higher_is_better,
        scale=problem.scale,
        baseline=baseline,
        path=output_path(arguments, "_runs.jsonl"),
    )


def output_path(arguments, suffix):
    return arguments.output_dir / f"igb_ablations_{arguments.data}{suffix}"


def save(result, content, arguments):
    import matplotlib.pyplot as plt

    path = output_path(arguments, ".json")
    files.write(path, files.to_json(content, indent=1) + "\n")
    axes = keras_mtl.plots.delta_m(result)
    image = path.with_suffix(".png")
    temporary = image.with_suffix(".tmp.png")
    np.ravel(axes)[0].figure.savefig(temporary, dpi=120, bbox_inches="tight")
    os.replace(temporary, image)
    plt.close("all")
    print(f"Saved {path} and {image}")


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", choices=PROBLEMS, default="qm9")
    parser.add_argument("--data-dir", help="folder of the data")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--rows", nargs="+", choices=PAPER, metavar="ROW", default=list(PAPER)
    )
    parser.add_argument(
        "--agent", choices=keras_mtl.agents.names(), default="auto"
    )
    parser.add_argument("--buffer-scale", type=float, default=1.0)
    parser.add_argument(
        "--output-dir", type=Path, default=Path(__file__).parent
    )
    group = parser.add_argument_group("qm9")
    group.add_argument("--molecules", type=int, default=5000)
    group = parser.add_argument_group("nyuv2")
    group.add_argument("--learning-rate", type=float, default=1e-3)
    nyuv2_experiment.add_options(group)
    return parser.parse_args(argv)


def main(argv=None):
    arguments = parse(argv)
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    problem = PROBLEMS[arguments.data](arguments)
    rows = table_rows(arguments.agent, arguments.buffer_scale)
    rows = {label: rows[label] for label in PAPER if label in arguments.rows}
    steps = number_of_steps(problem.train, problem.batch_size, arguments.epochs)
    sizes = {
        label: row.buffer_size
        for label, row in rows.items()
        if isinstance(row, IGBv2)
    }
    never = [label for label, size in sizes.items() if size > steps]
    if never:
        print(f"In {steps} steps the buffers never fill of: {never}")
    baseline = problem.single_task(problem, arguments)
    result = compare(problem, rows, arguments, baseline)
    print(result)
    content = {
        "data": arguments.data,
        "train": len(next(iter(problem.train[1].values()))),
        "epochs": arguments.epochs,
        "steps": steps,
        "seeds": list(arguments.seeds),
        "agent": arguments.agent,
        "buffer_sizes": sizes,
        "single_task": baseline,
        "delta_m_of_the_paper": PAPER,
        "summary": result.summary(),
    }
    save(result, content, arguments)


if __name__ == "__main__":
    main()
