"""What a step of one task costs: `TaskSampler` against a model of that task.

A `MultiTaskModel` with T heads, whose `TaskSampler` chooses among T tasks of
the same size, and a `keras.Model` with one of these heads are trained epoch by
epoch in turn. The figures are ratios of paired times: see `paired.py`.

    python benchmarks/task_selection.py                  # TensorFlow and JAX
    python benchmarks/task_selection.py --modes jax-jit --rounds 40
"""

import argparse

import networks
import paired


def measure(arguments):
    """Times all models on the backend of this process."""
    import keras

    import keras_mtl

    size = arguments.batch_size * arguments.steps
    x, y = networks.data((64,), size, 1)
    y = y["task_0"]
    options = dict(loss="mse", jit_compile=arguments.jit)
    alone = networks.mlp(keras.Model, 1, arguments.width)
    alone.compile("adam", **options)
    candidates = {}
    for count in arguments.tasks:
        for policy in ("uniform", "exp3s"):
            model = networks.mlp(
                keras_mtl.MultiTaskModel, count, arguments.width
            )
            model.compile("adam", **options)
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
            candidates[f"T = {count}, {policy}"] = (
                lambda model=model, sampler=sampler: model.fit(
                    sampler, verbose=0
                )
            )

    def baseline():
        alone.fit(x, y, batch_size=arguments.batch_size, verbose=0)

    for function in (baseline, *candidates.values()):
        for _ in range(3):
            function()
    times = paired.compare(baseline, candidates, arguments.rounds)
    return {
        label: paired.summary(pairs, arguments.steps)
        for label, pairs in times.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--tasks", nargs="+", type=int, default=[2, 14])
    title = "the time of `fit`, of a model of one task"
    paired.main(parser, measure, "task_selection.json", title)


if __name__ == "__main__":
    main()
