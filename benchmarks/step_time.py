"""What a weighting costs: the time of `fit` against plain Keras.

The same network is trained by `keras.Model` and by `MultiTaskModel`, epoch by
epoch in turn (A B C A B C ...), so that a change in the machine's speed meets
all of them. The figure is the median over the rounds of the ratio to plain
Keras in the same round, with its quartiles.

    python benchmarks/step_time.py                     # all of the table
    python benchmarks/step_time.py --backends jax --rounds 40

Each backend runs in a process of its own.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

RESULTS = pathlib.Path(__file__).parent / "results"
TASKS = 11
BATCH_SIZE = 512
# Loss balancing; IGBv2's agent has a benchmark of its own.
WEIGHTINGS = [
    *["equal", "scale_invariant", "random", "uncertainty", "dwa"],
    *["geometric_mean", "imtl_l", "tchebycheff", "smooth_tchebycheff"],
    *["igb_v1", "bandit_mtl", "go4align", "famo"],
    *["nash_mtl/features", "nash_mtl/parameters"],
]


def build(cls):
    """An MLP trunk 64-512-512-512-512 and 11 heads of two dense layers."""
    import keras

    keras.utils.set_random_seed(0)
    inputs = keras.Input((64,))
    features = inputs
    for _ in range(4):
        features = keras.layers.Dense(512, activation="relu")(features)
    outputs = {}
    for i in range(TASKS):
        hidden = keras.layers.Dense(32, activation="relu")(features)
        outputs[f"task_{i}"] = keras.layers.Dense(1)(hidden)
    return cls(inputs, outputs)


def measure(arguments):
    """Times all models on the backend of this process."""
    import keras
    import numpy as np

    import keras_mtl

    rng = np.random.default_rng(0)
    size = arguments.batch_size * arguments.steps
    x = rng.normal(size=(size, 64)).astype("float32")
    y = {
        f"task_{i}": rng.normal(size=(size, 1)).astype("float32")
        for i in range(TASKS)
    }
    shared = dict(loss=dict.fromkeys(y, "mse"), jit_compile=arguments.jit)
    models = {"keras.Model": build(keras.Model)}
    models["keras.Model"].compile("adam", **shared)
    for label in arguments.weightings:
        name, *gradients = label.split("/")
        weighting = keras_mtl.weightings.get(name)
        if gradients:
            weighting = type(weighting)(gradients=gradients[0])
        models[label] = build(keras_mtl.MultiTaskModel)
        models[label].compile("adam", weighting=weighting, **shared)

    def seconds(model):
        start = time.perf_counter()
        model.fit(
            x, y, batch_size=arguments.batch_size, shuffle=False, verbose=0
        )
        return (time.perf_counter() - start) / arguments.steps

    for model in models.values():
        seconds(model), seconds(model)
    times = {label: [] for label in models}
    for _ in range(arguments.rounds):
        for label, model in models.items():
            times[label].append(seconds(model))
    return {
        label: {
            "step_ms": 1e3 * statistics.median(values),
            "ratio": statistics.quantiles(
                [a / b for a, b in zip(values, times["keras.Model"])], n=4
            ),
        }
        for label, values in times.items()
    }


def run(arguments):
    """Runs each backend in a process of its own and collects the results."""
    results = {"machine": f"{platform.machine()}, {os.cpu_count()} CPU cores"}
    for backend in arguments.backends:
        for jit in (False, True):
            name = f"{backend}, {'compiled with XLA' if jit else 'not XLA'}"
            if backend == "jax" and not jit:
                name = "jax, not compiled"
            command = [
                *[sys.executable, __file__, "--measure"],
                *(["--jit"] if jit else []),
                *["--rounds", str(arguments.rounds)],
                *["--steps", str(arguments.steps)],
                *["--batch-size", str(arguments.batch_size)],
                *["--weightings", *arguments.weightings],
            ]
            environment = {**os.environ, "KERAS_BACKEND": backend}
            output = subprocess.run(
                command, env=environment, check=True, stdout=subprocess.PIPE
            ).stdout
            results[name] = json.loads(output.splitlines()[-1])
            show(name, results[name])
    return results


def show(name, result):
    plain = result["keras.Model"]["step_ms"]
    print(f"\n{name}: plain Keras {plain:.1f} ms a step")
    for label, entry in result.items():
        low, median, high = entry["ratio"]
        print(
            f"  {label:22} {entry['step_ms']:7.1f} ms  "
            f"{median:.3f} of plain Keras ({low:.3f} to {high:.3f})",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backends", nargs="+", default=["tensorflow", "jax"])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=BATCH_SIZE)
    parser.add_argument("--weightings", nargs="+", default=WEIGHTINGS)
    parser.add_argument("--output-dir", type=pathlib.Path, default=RESULTS)
    parser.add_argument("--measure", action="store_true", help="internal")
    parser.add_argument("--jit", action="store_true", help="internal")
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments)))
        return
    results = run(arguments)
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    path = arguments.output_dir / "step_time.json"
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(results, indent=1) + "\n")
    os.replace(temporary, path)
    print(f"\nSaved {path}")


if __name__ == "__main__":
    main()
