"""What a step of one task costs: `TaskSampler` against a model of that task.

A `MultiTaskModel` with T heads, whose `TaskSampler` chooses among T tasks of
the same size, and a `keras.Model` with one of these heads are trained epoch by
epoch in turn (A B A B ...), so that a change in the machine's speed meets both.
The figure is the median over the rounds of the ratio in the same round, with
its quartiles.

    python benchmarks/task_selection.py                  # TensorFlow and JAX
    python benchmarks/task_selection.py --backends jax --rounds 40

Each backend runs in a process of its own.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time


def build(cls, num_tasks, width):
    """An MLP trunk of four layers, and heads of two dense layers."""
    import keras

    keras.utils.set_random_seed(0)
    inputs = keras.Input((64,))
    features = inputs
    for _ in range(4):
        features = keras.layers.Dense(width, activation="relu")(features)
    outputs = {}
    for i in range(num_tasks):
        hidden = keras.layers.Dense(32, activation="relu")(features)
        outputs[f"task_{i}"] = keras.layers.Dense(1)(hidden)
    return cls(inputs, outputs if num_tasks > 1 else outputs["task_0"])


def measure(arguments):
    """Times all models on the backend of this process."""
    import keras
    import numpy as np

    import keras_mtl

    rng = np.random.default_rng(0)
    size = arguments.batch_size * arguments.steps
    x = rng.normal(size=(size, 64)).astype("float32")
    y = rng.normal(size=(size, 1)).astype("float32")
    options = dict(loss="mse", jit_compile=arguments.jit)
    models = {"keras.Model": build(keras.Model, 1, arguments.width)}
    models["keras.Model"].compile("adam", **options)
    fits = {
        "keras.Model": lambda: models["keras.Model"].fit(
            x, y, batch_size=arguments.batch_size, verbose=0
        )
    }
    cases = {
        f"T = {count}, {policy}": (count, policy)
        for count in arguments.tasks
        for policy in ("uniform", "exp3s")
    }
    for label, (count, policy) in cases.items():
        models[label] = build(keras_mtl.MultiTaskModel, count, arguments.width)
        models[label].compile("adam", **options)
        sampler = keras_mtl.selection.TaskSampler(
            {f"task_{i}": (x, y) for i in range(count)},
            policy=policy,
            # That of `uniform`, for exp3s as well: prediction gain takes
            # another forward pass, which is no cost of the choice.
            reward="falling_loss",
            batch_size=arguments.batch_size,
            steps_per_epoch=arguments.steps,
            seed=0,
        )
        fits[label] = lambda label=label, sampler=sampler: models[label].fit(
            sampler, verbose=0
        )

    def seconds(fit):
        start = time.perf_counter()
        fit()
        return (time.perf_counter() - start) / arguments.steps

    for fit in fits.values():
        for _ in range(3):
            seconds(fit)
    times = {label: [] for label in fits}
    for _ in range(arguments.rounds):
        for label, fit in fits.items():
            times[label].append(seconds(fit))
    alone = times["keras.Model"]
    return {
        label: {
            "step_ms": 1e3 * statistics.median(values),
            "ratio": statistics.quantiles(
                [a / b for a, b in zip(values, alone)], n=4
            ),
        }
        for label, values in times.items()
    }


def run(arguments):
    """Runs each backend in a process of its own and prints a table."""
    for backend in arguments.backends:
        for jit in (False, True) if backend == "tensorflow" else (True,):
            command = [
                *[sys.executable, __file__, "--measure"],
                *(["--jit"] if jit else []),
                *["--rounds", str(arguments.rounds)],
                *["--steps", str(arguments.steps)],
                *["--batch-size", str(arguments.batch_size)],
                *["--width", str(arguments.width)],
                *["--tasks", *map(str, arguments.tasks)],
            ]
            environment = {**os.environ, "KERAS_BACKEND": backend}
            output = subprocess.run(
                command, env=environment, check=True, stdout=subprocess.PIPE
            )
            result = json.loads(output.stdout.splitlines()[-1])
            print(f"{backend}, {'compiled with XLA' if jit else 'not XLA'}")
            for label, row in result.items():
                low, median, high = row["ratio"]
                print(
                    f"  {label:18} {row['step_ms']:8.2f} ms  "
                    f"{median:.3f} ({low:.3f} to {high:.3f})",
                    flush=True,
                )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backends", nargs="+", default=["tensorflow", "jax"])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--tasks", nargs="+", type=int, default=[2, 14])
    parser.add_argument("--jit", action="store_true")
    parser.add_argument("--measure", action="store_true")
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments)))
    else:
        run(arguments)
