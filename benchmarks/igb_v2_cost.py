"""What IGBv2 costs: its agent's actions and updates, beside a training step.

For each agent: its own cost a step, from a small network whose step is short,
and the ratio to equal weighting for a network whose step takes 100 ms and more.
The replay buffer is full, so that each 50 steps have the largest number of
updates, 50; an epoch is 50 steps, or a multiple. Times are paired: `paired.py`.

    python benchmarks/igb_v2_cost.py
    python benchmarks/igb_v2_cost.py --modes jax-jit --rounds 20
"""

import argparse

import networks
import paired

TASKS = 11
UPDATE_EVERY = 50


def measure(arguments):
    """Times equal weighting and both agents on the backend of this process."""
    import keras

    import keras_mtl

    agents = ["keras"]
    if keras.backend.backend() == "tensorflow":
        agents.append("tf_agents")
    shapes = {
        "small": dict(width=32, depth=1),
        "large": dict(width=512, depth=4),
    }
    results = {}
    for size, shape in shapes.items():
        steps, batch_size = UPDATE_EVERY * 4, 32
        if size == "large":
            steps, batch_size = UPDATE_EVERY, arguments.batch_size
        x, y = networks.data((64,), steps * batch_size, TASKS)

        def model(weighting, shape=shape, tasks=tuple(y)):
            model = networks.mlp(keras_mtl.MultiTaskModel, TASKS, **shape)
            model.compile(
                "adam",
                loss=dict.fromkeys(tasks, "mse"),
                jit_compile=arguments.jit,
                weighting=weighting,
            )
            return model

        def fit(model, x=x, y=y, batch_size=batch_size):
            settings = dict(batch_size=batch_size, shuffle=False, verbose=0)
            return lambda: model.fit(x, y, **settings)

        equal = fit(model("equal"))
        candidates = {}
        for agent in agents:
            trained = model(
                keras_mtl.weightings.IGBv2(
                    agent=agent, buffer_size=UPDATE_EVERY
                )
            )
            # Up to the epoch in which the agent gives the weights.
            one_batch = [
                x[:batch_size],
                {k: v[:batch_size] for k, v in y.items()},
            ]
            trained.fit(*one_batch, epochs=6, verbose=0)
            candidates[agent] = fit(trained)
        for function in (equal, *candidates.values()):
            function(), function()
        times = paired.compare(equal, candidates, arguments.rounds)
        for agent, pairs in times.items():
            results[f"{agent}, {size} network"] = {
                **paired.summary(pairs, steps),
                **paired.own_cost(pairs, steps),
            }
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch-size", type=int, default=3072)
    title = "the time of `fit`, of equal weighting"
    paired.main(parser, measure, "igb_v2_cost.json", title)


if __name__ == "__main__":
    main()
