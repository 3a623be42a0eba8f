"""What a weighting costs: the time of `fit` against plain Keras.

The same network is trained by `keras.Model` and by `MultiTaskModel`, epoch by
epoch in turn. The figures are ratios of paired times: see `paired.py`.

What loss balancing adds does not depend on the network, and is far below the
noise of a step of 20 ms. So its own cost in milliseconds is measured with a
small network, whose step is short.

    python benchmarks/step_time.py                     # all of the table
    python benchmarks/step_time.py --modes jax-jit --rounds 40

Each mode (`tensorflow`, `tensorflow-jit`, `jax-jit`; `jax` runs without any
compilation, `torch` eagerly) runs in a process of its own.
"""

import argparse

import networks
import paired

TASKS = 11
# IGBv2's agent has a benchmark of its own.
LOSS_BALANCING = [
    *["equal", "scale_invariant", "random", "uncertainty", "dwa"],
    *["geometric_mean", "imtl_l", "tchebycheff", "smooth_tchebycheff"],
    *["igb_v1", "bandit_mtl", "go4align"],
]
OTHERS = ["famo", "nash_mtl/features", "nash_mtl/parameters"]
SMALL = dict(width=32, depth=1)


def measure(arguments):
    """Times all models on the backend of this process."""
    small = compare(arguments, LOSS_BALANCING, 32, 10 * arguments.steps, SMALL)
    labels = [*LOSS_BALANCING, *OTHERS]
    large = compare(arguments, labels, arguments.batch_size, arguments.steps)
    for label, entry in small.items():
        large[label] = {**entry, **large[label]}
    return large


def compare(arguments, labels, batch_size, steps, shape=None):
    import keras

    import keras_mtl

    shape = shape or {}
    labels = [x for x in labels if x in arguments.weightings]
    x, y = networks.data((64,), batch_size * steps, TASKS)
    shared = dict(loss=dict.fromkeys(y, "mse"), jit_compile=arguments.jit)
    if keras.backend.backend() == "jax":
        # Without XLA, JAX runs operation by operation.
        shared["run_eagerly"] = not arguments.jit

    def fit(model):
        settings = dict(batch_size=batch_size, shuffle=False, verbose=0)
        return lambda: model.fit(x, y, **settings)

    plain = networks.mlp(keras.Model, TASKS, **shape)
    plain.compile("adam", **shared)
    candidates = {}
    for label in labels:
        name, *gradients = label.split("/")
        weighting = keras_mtl.weightings.get(name)
        if gradients:
            weighting = type(weighting)(gradients=gradients[0])
        model = networks.mlp(keras_mtl.MultiTaskModel, TASKS, **shape)
        model.compile("adam", weighting=weighting, **shared)
        candidates[label] = fit(model)
    for function in (fit(plain), *candidates.values()):
        function(), function()
    times = paired.compare(fit(plain), candidates, arguments.rounds)
    if shape:
        return {
            label: paired.own_cost(pairs, steps)
            for label, pairs in times.items()
        }
    return {
        label: paired.summary(pairs, steps) for label, pairs in times.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument(
        "--weightings", nargs="+", default=[*LOSS_BALANCING, *OTHERS]
    )
    title = "the time of `fit`, of plain Keras"
    paired.main(parser, measure, "step_time.json", title)


if __name__ == "__main__":
    main()
