"""What gradient balancing costs with many tasks, and the first `fit`.

- `steps`: the time of a training step with the gradients of the features,
  against equal weighting, for 3, 11 and 60 tasks (an MLP, batch 512).
- `first_fit`: the time of the first `fit`, in which the step is traced and
  compiled, against that of plain Keras. Each `fit` has a new model.
- `exits`: the time of a step of `nash_mtl` on the gradients of parameters with
  six of eight heads after the first of nine layers, against all at the end.

    python benchmarks/many_tasks.py
    python benchmarks/many_tasks.py first_fit --modes jax-jit --tasks 11

Ratios are of paired times: see `paired.py`.
"""

import argparse

import networks
import paired

STEPS = ["mgda", "nash_mtl", "cagrad", "upgrad", "fairgrad", "aligned_mtl"]
FIRST_FIT = ["equal", "uncertainty", "igb_v2", *STEPS]


def measure(arguments):
    """Times all models on the backend of this process."""
    if arguments.what == "exits":
        pairs = exit_times(arguments)
        return {"six early exits": paired.summary(pairs, arguments.steps)}
    what = {"steps": step_times, "first_fit": first_fits}[arguments.what]
    results = {}
    for tasks in arguments.tasks:
        for label, pairs in what(arguments, tasks).items():
            steps = 1 if arguments.what == "first_fit" else arguments.steps
            results[f"{label}, T = {tasks}"] = paired.summary(pairs, steps)
    return results


def step_times(arguments, tasks):
    x, y = networks.data((64,), 512 * arguments.steps, tasks)
    candidates = {
        name: fit_of(arguments, model_of(arguments, tasks, name), x, y)
        for name in ["equal", *arguments.weightings]
    }
    for function in candidates.values():
        function(), function()
    baseline = candidates.pop("equal")
    return paired.compare(baseline, candidates, arguments.rounds)


def first_fits(arguments, tasks):
    x, y = networks.data((64,), 512, tasks)

    def first_fit(name):
        fit_of(arguments, model_of(arguments, tasks, name), x, y)()

    candidates = {name: lambda name=name: first_fit(name) for name in FIRST_FIT}
    # What is imported and compiled for all models alike.
    first_fit(None), first_fit("nash_mtl")
    rounds = max(1, arguments.rounds // 4)
    return paired.compare(lambda: first_fit(None), candidates, rounds)


def exit_times(arguments):
    x, y = networks.data((64,), 512 * arguments.steps, 8)

    def fit(early):
        import keras_mtl

        model = networks.early_exits(keras_mtl.MultiTaskModel, 8, early)
        weighting = keras_mtl.weightings.NashMTL(gradients="parameters")
        model.compile(
            "adam",
            dict.fromkeys(y, "mse"),
            weighting=weighting,
            jit_compile=arguments.jit,
        )
        function = fit_of(arguments, model, x, y)
        function(), function()
        return function

    candidates = {"exits": fit(6)}
    return paired.compare(fit(0), candidates, arguments.rounds)["exits"]


def model_of(arguments, tasks, name):
    """Returns a compiled model with a weighting, of plain Keras for `None`."""
    import keras

    import keras_mtl

    compiled = dict(
        optimizer="adam",
        loss={f"task_{i}": "mse" for i in range(tasks)},
        jit_compile=arguments.jit,
    )
    if name is None:
        model = networks.mlp(keras.Model, tasks)
        model.compile(**compiled)
        return model
    weighting = keras_mtl.weightings.get(name)
    if weighting.needs_gradients:
        weighting = type(weighting)(gradients="features")
    model = networks.mlp(keras_mtl.MultiTaskModel, tasks)
    model.compile(weighting=weighting, **compiled)
    return model


def fit_of(arguments, model, x, y):
    return lambda: model.fit(x, y, batch_size=512, shuffle=False, verbose=0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "what",
        nargs="?",
        choices=["steps", "first_fit", "exits"],
        default="steps",
    )
    parser.add_argument("--tasks", nargs="+", type=int, default=[3, 11, 60])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--weightings", nargs="+", default=STEPS)
    what = parser.parse_known_args()[0].what
    baseline = {
        "steps": "a step, of equal weighting",
        "first_fit": "the first `fit`, of plain Keras",
        "exits": "a step, of all heads at the end",
    }[what]
    paired.main(parser, measure, f"many_tasks_{what}.json", baseline)


if __name__ == "__main__":
    main()
