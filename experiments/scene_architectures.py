"""NYUv2 with three architectures and four weightings.

Segmentation, depth and surface normals of scenes of 96 x 128 pixels. The
networks are encoders and decoders of convolutions at half of this size and
less; their widths give them equally many weights: about 106,000 each. The
search of the learning rate and the report are those of `architectures.py`. Δm
is over the nine metrics of MTAN's tables, against hard parameter sharing with
equal weights.

    python experiments/scene_architectures.py --data-dir nyuv2_96x128
    python experiments/scene_architectures.py --data-dir nyuv2_96x128 \\
        --images 24 --validation 8 --epochs 2 --seeds 0 \\
        --architectures mtan --weightings equal --output-dir /tmp/scenes

The runs are kept in `scene_architectures_<name>_runs.jsonl`: what is there is
not trained again. The results in `scene_architectures.json` and `.png` are
those of `--images 160 --validation 40`.

References:

- Liu et al., "End-to-End Multi-Task Learning with Attention", CVPR 2019,
  https://arxiv.org/abs/1803.10704, the data and the metrics.
- `keras_mtl.architectures` names the paper of each architecture.
"""

import statistics

import architectures as reviews
import keras
import nyuv2
from keras import layers

import keras_mtl
from keras_mtl import architectures
from keras_mtl.backend import files

TASKS = ("segmentation", "depth", "normal")


def level(width, resize=None, strides=1):
    """Returns the function that makes two convolutions, after a resizing."""

    def expert(name):
        parts = [] if resize is None else [resize(2)]
        for step in (strides, 1):
            parts.append(layers.Conv2D(width, 3, step, padding="same"))
            parts.append(layers.BatchNormalization(momentum=0.9))
            parts.append(layers.ReLU())
        return keras.Sequential(parts, name=name)

    return expert


def levels(width):
    """Returns the encoder's levels and the decoder's.

    `width` is that of the first and the last level, which have half of the
    image's height and width.
    """
    encoder = [level(width, strides=2)]
    encoder += [level(n * width, layers.MaxPooling2D) for n in (2, 4)]
    decoder = [level(n * width, layers.UpSampling2D) for n in (2, 1)]
    return encoder, decoder


def hard_parameter_sharing(x, width):
    encoder, decoder = levels(width)

    def network(name):
        parts = [
            make(f"{name}_{i}") for i, make in enumerate(encoder + decoder)
        ]
        return keras.Sequential(parts, name=name)

    return architectures.hard_parameter_sharing(x, TASKS, network)


def cross_stitch(x, width):
    encoder, decoder = levels(width)
    return architectures.cross_stitch(
        x, TASKS, encoder + decoder, levels=len(encoder + decoder)
    )


def mtan(x, width):
    found = []
    for part, name in zip(levels(width), ("encoder", "decoder")):
        found.append([])
        for i, make in enumerate(part):
            x = make(f"{name}_{i}")(x)
            found[-1].append(x)
    return architectures.mtan(found[0], TASKS, found[1])


# Name to the function of an image, and the width of its first level.
ARCHITECTURES = {
    "hard_parameter_sharing": (hard_parameter_sharing, 16),
    "cross_stitch": (cross_stitch, 9),
    "mtan": (mtan, 11),
}


def build_of(architecture, shape):
    make, width = ARCHITECTURES[architecture]
    channels = {"segmentation": 13, "depth": 1, "normal": 3}

    def build():
        image = keras.Input(shape, name="image")
        outputs = {}
        for task, x in make(image, width).items():
            x = layers.Conv2D(channels[task], 1, name=f"{task}_head")(x)
            enlarge = layers.UpSampling2D(
                2, interpolation="bilinear", name=f"{task}_enlarged"
            )
            outputs[task] = enlarge(x)
        # The loss is of unit vectors.
        unit = layers.UnitNormalization(axis=-1, name="unit")
        outputs["normal"] = unit(outputs["normal"])
        return keras_mtl.MultiTaskModel(image, outputs)

    return build


def compare(architecture, problem, arguments):
    """Searches the learning rate of an architecture and tests weightings.

    Returns:
        Dict of what is to be saved, but for Δm.
    """
    splits = [*problem.data.splits.values()]
    build = build_of(architecture, splits[0][0].shape[1:])
    rate, result = reviews.search_and_test(
        f"scene_architectures_{architecture}",
        build,
        splits,
        problem.compile_args,
        problem.metrics,
        problem.learning_rates,
        arguments,
    )
    metrics = {
        label: [
            {key: x["metrics"][key] for key in result.keys}
            for x in result.records
            if x["label"] == label
        ]
        for label in arguments.weightings
    }
    return {
        "weights": build().count_params(),
        "learning_rate": rate,
        "higher_is_better": result.higher_is_better,
        "metrics": metrics,
    }


def add_changes(rows):
    """Adds Δm of each seed against the first weighting of the first row."""
    first = next(iter(next(iter(rows.values()))["metrics"].values()))
    baseline = {key: statistics.mean(x[key] for x in first) for key in first[0]}
    for row in rows.values():
        row["delta_m"] = {
            label: [
                keras_mtl.metrics.delta_m(x, baseline, row["higher_is_better"])
                for x in results
            ]
            for label, results in row["metrics"].items()
        }


def main(argv=None):
    parser = reviews.parser_of(__doc__, 24, 8, [*ARCHITECTURES])
    parser.add_argument("--images", type=int, help="of each folder; all")
    parser.add_argument("--validation", type=int, default=197)
    parser.set_defaults(widths=())
    arguments = parser.parse_args(argv)
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    problem = nyuv2.problem_of(arguments)
    rows = {
        name: compare(name, problem, arguments)
        for name in arguments.architectures
    }
    add_changes(rows)
    content = {
        "backend": keras.backend.backend(),
        **{x: getattr(arguments, x) for x in ("images", "epochs", "seeds")},
        "architectures": rows,
    }
    path = arguments.output_dir / "scene_architectures.json"
    files.write(path, files.to_json(content, indent=1) + "\n")
    print(f"Saved {path}")
    reviews.draw(
        {name: row["delta_m"] for name, row in rows.items()},
        "Δm against hard parameter sharing with equal weights, %",
        arguments.output_dir / "scene_architectures.png",
    )


if __name__ == "__main__":
    main()
