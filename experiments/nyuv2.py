"""NYUv2: segmentation, depth and normals of scenes with every weighting.

The network is SegNet with three heads, narrower than the papers', the images
are of 96 x 128 pixels, and the split is that of the IGB paper, with 197 images
for validation and 457 for the test. Δm is over the nine metrics of its Table 1.
The search, and what is compared, are those of `comparison.py`.

    python experiments/nyuv2.py --data-dir nyuv2_96x128
    python experiments/nyuv2.py --data-dir ... --weightings equal igb_v1
    python experiments/nyuv2.py --data-dir ... --images 24 --validation 8 \
        --widths 4 4 --epochs 2 --seeds 0 --weightings equal \
        --output-dir /tmp/nyuv2

`--widths 64 128 256 512 512 --epochs 200` is the papers' scale, beside images
of 288 x 384 pixels. The runs are kept in `nyuv2_*_runs.jsonl`: what is there is
not trained again. The results are in `nyuv2.json` and `nyuv2.png`.

References:

- Dai et al., "Improvable Gap Balancing for Multi-Task Learning", UAI 2023,
  https://proceedings.mlr.press/v216/dai23a.html, section 4.1 and table 1.
"""

import comparison

import keras_mtl
from keras_mtl import metrics
from keras_mtl import models
from keras_mtl.datasets import nyuv2

METHODS = [
    *("equal", "tuned", "scale_invariant", "uncertainty", "igb_v1", "igb_v2"),
    *("nash_mtl", "random", "dwa", "mgda", "pcgrad", "cagrad", "imtl_g"),
]
# By these the epoch of a model of one task is chosen.
SELECT = {
    "segmentation": "mean_iou",
    "depth": "absolute_error",
    "normal": "mean_angle",
}


def problem_of(arguments):
    data = nyuv2.load_data(
        arguments.data_dir, arguments.validation, arguments.images
    )
    images = data.train[0]

    def compile_args(learning_rate, epochs):
        return {
            "optimizer": comparison.adam(
                learning_rate, epochs, len(images), arguments.batch_size
            ),
            "loss": models.scene_losses(),
            "metrics": metrics.scene_metrics(),
        }

    return comparison.Problem(
        name="nyuv2",
        data=data,
        build=lambda: keras_mtl.MultiTaskModel(
            *models.seg_net(shape=images.shape[1:], widths=arguments.widths)
        ),
        compile_args=compile_args,
        metrics={
            task: [metric.name for metric in those]
            for task, those in metrics.scene_metrics().items()
        },
        batch_size=arguments.batch_size,
        learning_rates=[3e-4, 1e-3, 3e-3],
        select=SELECT,
    )


def add_options(parser):
    """Adds the options of the data and of the network."""
    parser.add_argument("--images", type=int, help="of each folder; all")
    parser.add_argument("--validation", type=int, default=197)
    parser.add_argument(
        "--widths", type=int, nargs="+", default=[16, 32, 64, 64, 64]
    )
    parser.add_argument("--batch-size", type=int, default=8)


def main(argv=None):
    parser = comparison.parser_of(__doc__, epochs=24, methods=METHODS)
    add_options(parser)
    arguments = parser.parse_args(argv)
    problem = problem_of(arguments)
    content = comparison.compare(
        problem, arguments, ("images", "validation", "widths", "batch_size")
    )
    comparison.draw(content, arguments.output_dir / "nyuv2.png")


if __name__ == "__main__":
    main()
