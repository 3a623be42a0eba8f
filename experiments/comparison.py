"""What the comparisons of weightings share: search, report, results.

Every method gets the same number of trials on validation data, for the learning
rate and, if it has one, for a parameter of its own. `"tuned"` are fixed weights
that as many trials found. With what was found, each method is trained with
other seeds; the epoch that is best by the validation data is tested. Δm is
against models of one task each, whose learning rates were searched as well;
where each example has the label of one task, such a model sees its own examples
only. A trial has half of the epochs: with 40, IGBv2's agent acts in 15 of its
20.

The results file keeps what it has: a later call with the same settings trains
the weightings that it lacks, and compares them with those that it has.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from typing import NamedTuple

import keras
import numpy as np

import keras_mtl
from keras_mtl.backend import files
from keras_mtl.benchmarking import SingleTaskResult
from keras_mtl.benchmarking import single_task
from keras_mtl.losses import directions

# The first ones are those that a table without the others needs.
LOSS_BALANCING = [
    "equal",
    "tuned",
    "scale_invariant",
    "uncertainty",
    "igb_v1",
    "igb_v2",
    "random",
    "dwa",
    "bandit_mtl",
    "geometric_mean",
    "imtl_l",
    "famo",
    "go4align",
    "smooth_tchebycheff",
    "tchebycheff",
    "ldc_mtl",
    "uw_so",
    "softadapt",
    "relobralo",
    "cosmos",
    "pbi",
    "auto_lambda",
    "moml",
]
GRADIENT_BALANCING = [
    "nash_mtl",
    "cagrad",
    "imgrad",
    "mgda",
    "pcgrad",
    "imtl_g",
    "fairgrad",
    "pivrg",
    "upgrad",
    "aligned_mtl",
    "config",
    "db_mtl",
    "ntkmtl",
    "lr_annealing",
    "dualproj",
    "excess_mtl",
    "gradnorm",
    "gradvac",
    "graddrop",
    "trimmed_mean",
    "sdmgrad",
    "moco",
    "modo",
    "cr_mogm",
    "metabalance",
    "gcs",
    "pcd",
    "samo",
    "mean",
]
METHODS = LOSS_BALANCING + GRADIENT_BALANCING
# Of a method's own parameter the default of the package and another value.
PARAMETERS = {
    "uncertainty": {"learning_rate": [0.025, 0.001]},
    "igb_v2": {"logit_bound": [1.0, 0.3]},
    "dwa": {"temperature": [2.0, 0.5]},
    "bandit_mtl": {"rho": [1.2, 0.4]},
    "famo": {"gamma": [0.001, 0.01]},
    "smooth_tchebycheff": {"mu": [0.1, 1.0]},
    "ldc_mtl": {"control": [0.1, 0.01]},
    "uw_so": {"temperature": [1.0, 10.0]},
    "relobralo": {"temperature": [1.0, 0.1]},
    "cosmos": {"similarity": [1.0, 0.1]},
    "pbi": {"theta": [5.0, 0.5]},
    "cagrad": {"c": [0.4, 0.8]},
    "imgrad": {"c": [0.8, 0.4]},
    "lr_annealing": {"alpha": [0.9, 0.5]},
    "fairgrad": {"alpha": [2.0, 1.0]},
    "pivrg": {"min_temperature": [10.0, 100.0]},
    "db_mtl": {"beta": [0.5, 0.9]},
    "gradnorm": {"alpha": [1.5, 0.5]},
    "sdmgrad": {"lambda_": [0.3, 3.0]},
    "auto_lambda": {"learning_rate": [1e-4, 1e-3]},
    "moml": {"learning_rate": [1e-3, 1e-2]},
    "samo": {"rho": [1e-3, 1e-2]},
}

# The part of the epochs for which a trial trains.
FRACTION = 0.5


class Problem(NamedTuple):
    """What is trained, and how it is measured."""

    name: str
    data: Any
    build: Callable
    compile_args: Callable
    # The metric of each task, or a list of metrics.
    metrics: dict
    batch_size: int
    learning_rates: list
    # The metric by which the epoch of a model of one task is chosen.
    select: Any = "loss"
    higher_is_better: Any = None
    uncertainty_form: str = "regression"
    # Takes a task, and returns the problem with the examples of this task. By
    # default, the model of a task alone sees all examples.
    alone: Callable | None = None
    # Of a result, the factor that brings it to its unit.
    scale: dict | None = None
    # Of a label, the problem with another network, which is compared with the
    # weightings. It is trained with equal weights.
    networks: dict | None = None


def weighting_of(label, problem):
    """Returns what `benchmark` takes; gradients are those of the features.

    Of `"a+b"` it is a chain of two; `"random/L"` are random weights of log L.
    `auto_lambda` and `moml` learn their weights on the halves of each batch:
    nothing but the training data is given to any method, except to `pivrg`,
    which prefers the tasks whose validation results are behind. The main task
    of `gcs`, `pcd` and `metabalance` is the first one.
    """
    if label in (problem.networks or {}):
        return "equal"
    if label == "tuned":
        return label
    if "+" in label:
        return [weighting_of(part, problem) for part in label.split("+")]
    if label == "random/L":
        return keras_mtl.weightings.Random(scale_invariant=True, seed=0)
    cls = type(keras_mtl.weightings.get(label))
    if label == "uncertainty":
        return cls(problem.uncertainty_form)
    if label == "igb_v2":
        # The agent that runs on every backend.
        return cls(agent="keras", seed=0)
    if label in ("random", "samo"):
        return cls(seed=0)
    if label == "metabalance":
        # Its groups are the layers, and not the features.
        return label
    return cls(gradients="features") if cls().needs_gradients else label


def adam(learning_rate, epochs, examples, batch_size):
    """Returns Adam, whose learning rate falls to a sixteenth by a cosine."""
    steps = epochs * -(-examples // batch_size)
    rate = keras.optimizers.schedules.CosineDecay(
        learning_rate, steps, alpha=1 / 16
    )
    return keras.optimizers.Adam(rate)


def classification(tasks, examples, batch_size):
    """Returns the function of the arguments of `compile` for classes."""

    def compile_args(learning_rate, epochs):
        return {
            "optimizer": adam(learning_rate, epochs, examples, batch_size),
            "loss": dict.fromkeys(tasks, "sparse_categorical_crossentropy"),
            "metrics": {task: ["accuracy"] for task in tasks},
        }

    return compile_args


def parser_of(description, epochs, methods=METHODS):
    """Returns the parser of the options that all comparisons have."""
    parser = argparse.ArgumentParser(description=description.split("\n")[0])
    parser.add_argument("--data-dir", help="folder of the data")
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--weightings", nargs="+", default=methods)
    parser.add_argument(
        "--output-dir", type=Path, default=Path(__file__).parent
    )
    parser.add_argument("--no-progress", dest="progress", action="store_false")
    return parser


def compare(problem, arguments, sizes=()):
    """Searches, trains and tests, and adds to what the results file has.

    Args:
        problem: `Problem`.
        arguments: Those of `parser_of`, and others.
        sizes: The names of those that the results depend on.

    Returns:
        The content of the results file, which is saved.
    """
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    path = arguments.output_dir / f"{problem.name}.json"
    settings = {
        **{name: getattr(arguments, name) for name in sizes},
        "backend": keras.backend.backend(),
        "epochs": arguments.epochs,
        "seeds": list(arguments.seeds),
    }
    earlier = earlier_content(path, settings)
    rows = earlier["weightings"] if earlier else {}
    new = [x for x in arguments.weightings if x not in rows]
    if earlier:
        alone = SingleTaskResult(
            raw(earlier["single_task"], problem),
            earlier["single_task_validation"],
            earlier["single_task_learning_rates"],
            [],
        )
    else:
        alone = models_of_one_task(problem, arguments)
    found = [
        search_and_test(*part, alone, arguments)
        for part in parts_of(problem, new)
    ]
    result = joined(problem, rows, found, [*rows, *new], alone)
    print(result)
    trials = {x: y[0] for search, _ in found for x, y in search.trials.items()}
    content = {
        **settings,
        **content_of(problem, result, {**rows, **trials}, alone),
    }
    files.write(path, files.to_json(content, indent=1) + "\n")
    print(f"Saved {path}")
    return content


def earlier_content(path, settings):
    """Returns what an earlier call with the same settings saved, or `None`."""
    if not path.exists():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    same = all(content.get(name) == value for name, value in settings.items())
    whole = all("runs" in row for row in content["weightings"].values())
    return content if same and whole else None


def parts_of(problem, labels):
    """Returns pairs of a problem and its labels, one for each network."""
    networks = problem.networks or {}
    weightings = [x for x in labels if x not in networks]
    parts = [(problem, weightings)] if weightings else []
    return parts + [
        (networks[x]._replace(networks=networks), [x])
        for x in labels
        if x in networks
    ]


def joined(problem, rows, found, labels, alone):
    """Returns the `BenchmarkResult` of the file's runs and of new ones."""
    records = [
        {
            "label": label,
            **run,
            "metrics": {
                # Of what is not finite, the file has null.
                key: float("nan") if value is None else value
                for key, value in run["metrics"].items()
            },
        }
        for label, row in rows.items()
        for run in row["runs"]
    ]
    for _, result in found:
        records += result.records
    keys = [
        f"{task}_{name}"
        for task, names in problem.metrics.items()
        for name in ([names] if isinstance(names, str) else names)
    ]
    model = problem.build()
    model.compile(**problem.compile_args(problem.learning_rates[0], 1))
    return keras_mtl.benchmarking.BenchmarkResult(
        records,
        keys,
        labels,
        directions.higher_keys(problem.higher_is_better, keys, model),
        {key: alone.results[key] * scale_of(key, problem) for key in keys},
        {key: scale_of(key, problem) for key in keys},
    )


def scale_of(key, problem):
    return (problem.scale or {}).get(key, 1.0)


def raw(results, problem):
    """Returns results in the unit of `evaluate`."""
    return {key: x / scale_of(key, problem) for key, x in results.items()}


def search_and_test(problem, labels, alone, arguments):
    """Returns the `TuningResult` and the `BenchmarkResult` of one network."""
    data, common = problem.data, common_arguments(problem, arguments)
    search = keras_mtl.tune(
        problem.build,
        data.train,
        **common,
        weightings={label: weighting_of(label, problem) for label in labels},
        learning_rates=problem.learning_rates,
        fraction=FRACTION,
        parameters={x: PARAMETERS[x] for x in labels if x in PARAMETERS},
        trials=2 * len(problem.learning_rates),
        metrics=problem.metrics,
        baseline=alone,
        path=runs_path(problem, "search", arguments),
    )
    print(search)
    result = keras_mtl.benchmark(
        problem.build,
        data.train,
        **common,
        weightings=search.best,
        seeds=arguments.seeds,
        metrics=problem.metrics,
        baseline=alone,
        scale=problem.scale,
        select="val_delta_m",
        test_data=data.test,
        path=runs_path(problem, "report", arguments),
    )
    return search, result


def runs_path(problem, kind, arguments):
    return arguments.output_dir / f"{problem.name}_{kind}_runs.jsonl"


def common_arguments(problem, arguments):
    """Returns what the search, the report and single tasks have in common."""
    return {
        "compile_args": problem.compile_args,
        "epochs": arguments.epochs,
        "batch_size": problem.batch_size,
        "validation_data": problem.data.validation,
        "higher_is_better": problem.higher_is_better,
        "progress": arguments.progress,
    }


def models_of_one_task(problem, arguments):
    """Searches, trains and tests models of one task each."""
    parts = {None: problem}
    if problem.alone is not None:
        parts = {task: problem.alone(task) for task in problem.metrics}
    found = [
        single_task(
            part.build,
            part.data.train,
            tasks=None if task is None else [task],
            **common_arguments(part, arguments),
            learning_rates=part.learning_rates,
            fraction=FRACTION,
            seeds=arguments.seeds,
            test_data=part.data.test,
            select=part.select,
            path=runs_path(
                problem, "single_task" + (f"_{task}" if task else ""), arguments
            ),
        )
        for task, part in parts.items()
    ]
    return SingleTaskResult(
        {key: x.results[key] for x in found for key in x.results},
        {key: x.validation[key] for x in found for key in x.validation},
        {
            task: x.learning_rates[task]
            for x in found
            for task in x.learning_rates
        },
        [record for x in found for record in x.records],
    )


def examples_of(task, data):
    """Returns the data of the examples that have a label of a task."""

    def own(split):
        x, y = split
        rows = np.isfinite(y[task]).reshape(len(y[task]), -1).any(axis=1)
        return tuple({k: a[rows] for k, a in part.items()} for part in (x, y))

    splits = {name: own(split) for name, split in data.splits.items()}
    return keras_mtl.datasets.TaskData(**splits, info=data.info)


def content_of(problem, result, trials, alone):
    """Returns what a results file holds, but for the settings.

    Args:
        problem: `Problem`.
        result: `BenchmarkResult`.
        trials: Dict of label to what has the `learning_rate` and `parameters`
            that were found.
        alone: `SingleTaskResult`.
    """
    rows = {}
    differences = {
        f"difference_to_{x}": (
            result.differences(x) if x in result.labels else {}
        )
        for x in ("equal", "tuned")
    }
    for label, entry in result.summary().items():
        rows[label] = {
            "learning_rate": trials[label]["learning_rate"],
            "parameters": trials[label]["parameters"],
            "delta_m": entry["delta_m"],
            "interval": entry["intervals"]["delta_m"],
            **{
                name: each.get(label, {}).get("delta_m")
                for name, each in differences.items()
            },
            "mean_rank": entry["mean_rank"],
            "metrics": entry["metrics"],
            # From these a later call compares its weightings with this one.
            "runs": [
                {
                    "seed": record["seed"],
                    "seconds_per_step": record["seconds_per_step"],
                    "metrics": {
                        key: record["metrics"][key] for key in result.keys
                    },
                }
                for record in result.records
                if record["label"] == label
            ],
        }
    return {
        "single_task": {
            key: value * scale_of(key, problem)
            for key, value in alone.results.items()
        },
        "single_task_validation": alone.validation,
        "single_task_learning_rates": alone.learning_rates,
        "weightings": rows,
    }


def draw(content, path):
    """Draws Δm of each weighting."""
    import matplotlib.pyplot as plt

    changes = {x: y["delta_m"] for x, y in content["weightings"].items()}
    figure = keras_mtl.plots.delta_m(changes).figure
    figure.savefig(path, dpi=120, bbox_inches="tight")
    plt.close(figure)
