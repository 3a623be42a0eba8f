"""MultiMNIST: the accuracies of both digits with every weighting.

Two digits overlap in an image; the tasks are to read the left one and the right
one, with the LeNet of MGDA's code. The search, and what is compared, are those
of `comparison.py`.

    python experiments/multi_mnist.py --data-dir folder_of_mnist.npz
    python experiments/multi_mnist.py --data-dir ... --weightings equal tuned
    python experiments/multi_mnist.py --data-dir ... --images 200 --epochs 6 \
        --seeds 0 --weightings equal nash_mtl --output-dir /tmp/multi_mnist

By default it takes 6,000 of the 60,000 images, with which one run takes half a
minute on two cores; `--images 60000 --epochs 100` is the papers' scale. The
runs are kept in `multi_mnist_*_runs.jsonl`: what is there is not trained again.
The results are in `multi_mnist.json` and `multi_mnist.png`.

References:

- Sener and Koltun, "Multi-Task Learning as Multi-Objective Optimization",
  NeurIPS 2018, https://arxiv.org/abs/1810.04650, section 5.1 and figure 2.
"""

import comparison

import keras_mtl
from keras_mtl.datasets import multi_mnist
from keras_mtl.models import le_net

TASKS = multi_mnist.TASKS


def problem_of(arguments):
    data = multi_mnist.load_data(
        arguments.data_dir, arguments.validation, arguments.images
    )

    return comparison.Problem(
        name="multi_mnist",
        data=data,
        build=lambda: keras_mtl.MultiTaskModel(*le_net()),
        compile_args=comparison.classification(
            TASKS, len(data.train[0]), arguments.batch_size
        ),
        metrics=dict.fromkeys(TASKS, "accuracy"),
        batch_size=arguments.batch_size,
        learning_rates=[1e-3, 3e-3, 9e-3],
        select="accuracy",
        uncertainty_form="classification",
    )


def draw(content, path):
    """Draws the accuracies of both tasks, a point for each weighting."""
    import matplotlib.pyplot as plt

    from keras_mtl.plots.point_names import name_points

    figure, axes = plt.subplots(figsize=(7, 6), layout="constrained")
    left, right = (
        100 * content["single_task"][f"{task}_accuracy"] for task in TASKS
    )
    axes.axvline(left, color="0.8", zorder=0)
    axes.axhline(right, color="0.8", zorder=0)
    points, bars = [], []
    for label, row in content["weightings"].items():
        (x, dx), (y, dy) = (
            [100 * value for value in row["metrics"][f"{task}_accuracy"]]
            for task in TASKS
        )
        special = label in ("equal", "tuned")
        axes.errorbar(
            *(x, y, dy, dx),
            fmt="o",
            ms=5,
            lw=0.7,
            color="C3" if special else "C0",
        )
        points.append((x, y))
        bars.append((dx, dy))
    axes.set_xlabel("accuracy of the left digit, %")
    axes.set_ylabel("accuracy of the right digit, %")
    axes.set_title("MultiMNIST; grey lines: models of one task each")
    figure.canvas.draw()
    name_points(axes, list(content["weightings"]), points, bars)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main(argv=None):
    parser = comparison.parser_of(__doc__, epochs=40)
    parser.add_argument("--images", type=int, default=6000)
    parser.add_argument("--validation", type=int, default=10000)
    parser.add_argument("--batch-size", type=int, default=128)
    arguments = parser.parse_args(argv)
    problem = problem_of(arguments)
    content = comparison.compare(
        problem, arguments, ("images", "validation", "batch_size")
    )
    draw(content, arguments.output_dir / "multi_mnist.png")


if __name__ == "__main__":
    main()
