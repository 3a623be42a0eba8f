"""What IGBv2 costs: its agent's actions and updates, beside a training step.

For each agent: its own cost a step, from a small network whose step is short,
and the ratio to equal weighting for a network whose step takes 100 ms and more.
The replay buffer is full, so that each 50 steps have the largest number of
updates, 50. Times are means over epochs, which all hold the same number of
updates; the models take turns, and the figures are medians over the rounds with
their quartiles.

    python benchmarks/igb_v2_cost.py
    python benchmarks/igb_v2_cost.py --backends jax --rounds 5
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
UPDATE_EVERY = 50


def build(width, depth, weighting, jit):
    import keras

    import keras_mtl

    keras.utils.set_random_seed(0)
    inputs = keras.Input((64,))
    features = inputs
    for _ in range(depth):
        features = keras.layers.Dense(width, activation="relu")(features)
    outputs = {
        f"task_{i}": keras.layers.Dense(1)(
            keras.layers.Dense(32, activation="relu")(features)
        )
        for i in range(TASKS)
    }
    model = keras_mtl.MultiTaskModel(inputs, outputs)
    losses = dict.fromkeys(outputs, "mse")
    model.compile("adam", loss=losses, jit_compile=jit, weighting=weighting)
    return model


def make_data(size):
    import numpy as np

    rng = np.random.default_rng(0)
    x = rng.normal(size=(size, 64)).astype("float32")
    y = {
        f"task_{i}": rng.normal(size=(size, 1)).astype("float32")
        for i in range(TASKS)
    }
    return x, y


def epoch_seconds(model, data, batch_size):
    start = time.perf_counter()
    settings = dict(batch_size=batch_size, shuffle=False, verbose=0)
    model.fit(*data, **settings)
    return time.perf_counter() - start


def measure(arguments):
    """Times equal weighting and both agents on the backend of this process."""
    import keras

    import keras_mtl

    agents = ["keras"]
    if keras.backend.backend() == "tensorflow":
        agents.append("tf_agents")
    shapes = {
        "small": dict(width=32, depth=1, batch_size=32),
        "large": dict(width=512, depth=4, batch_size=arguments.batch_size),
    }
    results = {}
    for size, shape in shapes.items():
        batch_size = shape.pop("batch_size")
        steps = UPDATE_EVERY * (4 if size == "small" else 1)
        data = make_data(steps * batch_size)
        one_batch = make_data(batch_size)
        models = {"equal": build(**shape, weighting="equal", jit=arguments.jit)}
        for agent in agents:
            weighting = keras_mtl.weightings.IGBv2(
                agent=agent, buffer_size=UPDATE_EVERY
            )
            models[agent] = build(
                **shape, weighting=weighting, jit=arguments.jit
            )
            # Up to the epoch in which the agent gives the weights.
            models[agent].fit(*one_batch, epochs=6, verbose=0)
        for model in models.values():
            epoch_seconds(model, data, batch_size)
        times = {label: [] for label in models}
        for _ in range(arguments.rounds):
            for label, model in models.items():
                seconds = epoch_seconds(model, data, batch_size) / steps
                times[label].append(1e3 * seconds)
        results[size] = {"equal_ms": statistics.median(times["equal"])}
        for agent in agents:
            pairs = list(zip(times[agent], times["equal"]))
            results[size][agent] = {
                "own_ms": quartiles([a - b for a, b in pairs]),
                "ratio": quartiles([a / b for a, b in pairs]),
            }
    return results


def quartiles(values):
    return statistics.quantiles(values, n=4)


def show(name, results):
    print(f"\n{name}")
    for size, entry in results.items():
        print(f"  {size} network, {entry['equal_ms']:.1f} ms a step")
        for agent in entry.keys() - {"equal_ms"}:
            low, own, high = entry[agent]["own_ms"]
            first, ratio, last = entry[agent]["ratio"]
            print(
                f"    {agent:10} {own:.2f} ms of its own ({low:.2f} to "
                f"{high:.2f}), {ratio:.3f} of equal weighting ({first:.3f} to "
                f"{last:.3f})",
                flush=True,
            )


def run(arguments):
    results = {"machine": f"{platform.machine()}, {os.cpu_count()} CPU cores"}
    modes = [("tensorflow", False), ("tensorflow", True), ("jax", True)]
    for backend, jit in modes:
        if backend not in arguments.backends:
            continue
        name = f"{backend}, {'compiled with XLA' if jit else 'not XLA'}"
        command = [
            *[sys.executable, __file__, "--measure"],
            *(["--jit"] if jit else []),
            *["--rounds", str(arguments.rounds)],
            *["--batch-size", str(arguments.batch_size)],
        ]
        output = subprocess.run(
            command,
            env={**os.environ, "KERAS_BACKEND": backend},
            check=True,
            stdout=subprocess.PIPE,
        ).stdout
        results[name] = json.loads(output.splitlines()[-1])
        show(name, results[name])
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backends", nargs="+", default=["tensorflow", "jax"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch-size", type=int, default=2048)
    parser.add_argument("--output-dir", type=pathlib.Path, default=RESULTS)
    parser.add_argument("--measure", action="store_true", help="internal")
    parser.add_argument("--jit", action="store_true", help="internal")
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments)))
        return
    results = run(arguments)
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    path = arguments.output_dir / "igb_v2_cost.json"
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(results, indent=1) + "\n")
    os.replace(temporary, path)
    print(f"\nSaved {path}")


if __name__ == "__main__":
    main()
