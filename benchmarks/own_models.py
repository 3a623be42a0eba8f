"""What a model or loop of one's own costs, against `fit` of the same graph.

One network of 11 tasks is trained three ways, with the same weighting and the
gradients of all shared parameters:

- by `fit` of a `MultiTaskModel` (1.00),
- `subclass`: by `fit` of a `MultiLossModel`,
- `loop`: by `keras_mtl.loops`, in a function that is compiled as `fit` is.

    python benchmarks/own_models.py
    python benchmarks/own_models.py --modes torch --weightings nash_mtl

Ratios are of paired times: see `paired.py`. PyTorch's loop against TorchJD's is
the mode `loop` of `against_torchjd.py`.
"""

import argparse

import networks
import paired

TASKS = 11
BATCH_SIZE = 512
WEIGHTINGS = ["equal", "uncertainty", "nash_mtl"]


def measure(arguments):
    """Times all models on the backend of this process."""
    x, y = networks.data((64,), BATCH_SIZE * arguments.steps, TASKS)
    results = {}
    for name in arguments.weightings:
        graph = fit_of(functional(arguments, name, y), x, y)
        candidates = {
            f"{name}, subclass": fit_of(subclass(arguments, name), x, y),
            f"{name}, loop": loop_of(arguments, name, x, y),
        }
        for function in (graph, *candidates.values()):
            function(), function()
        pairs = paired.compare(graph, candidates, arguments.rounds)
        for label, times in pairs.items():
            results[label] = paired.summary(times, arguments.steps)
    return results


def fit_of(model, x, y):
    settings = dict(batch_size=BATCH_SIZE, shuffle=False, verbose=0)
    return lambda: model.fit(x, y, **settings)


def functional(arguments, name, y):
    import keras_mtl

    model = networks.mlp(keras_mtl.MultiTaskModel, TASKS)
    losses = dict.fromkeys(y, "mse")
    model.compile("adam", losses, weighting=name, jit_compile=arguments.jit)
    return model


def subclass(arguments, name):
    import keras

    import keras_mtl

    class OwnModel(keras_mtl.MultiLossModel):
        def __init__(self):
            super().__init__()
            self.network = networks.mlp(keras.Model, TASKS)

        def call(self, x):
            return self.network(x)

        def compute_task_losses(
            self, x, y, y_pred, sample_weight=None, training=True
        ):
            return losses_of(y_pred, y)

    model = OwnModel()
    model.compile("adam", weighting=name, jit_compile=arguments.jit)
    return model


def loop_of(arguments, name, x, y):
    """Returns a function that trains on all batches, in the backend's idiom."""
    import keras

    import keras_mtl

    model = networks.mlp(keras.Model, TASKS)
    optimizer = keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)
    make_step = {
        "tensorflow": tensorflow_step,
        "jax": jax_step,
        "torch": torch_step,
    }[keras.backend.backend()]
    weighting = keras_mtl.weightings.get(name)
    step = make_step(arguments, model, optimizer, weighting)

    def loop():
        for start in range(0, len(x), BATCH_SIZE):
            batch = slice(start, start + BATCH_SIZE)
            step(x[batch], {task: values[batch] for task, values in y.items()})

    return loop


def losses_of(outputs, y):
    from keras import ops

    return {t: ops.mean(ops.square(y[t] - outputs[t])) for t in y}


def tensorflow_step(arguments, model, optimizer, weighting):
    import tensorflow as tf

    import keras_mtl

    variables = model.trainable_variables

    @tf.function(jit_compile=arguments.jit)
    def step(x, y):
        with tf.GradientTape(persistent=True) as tape:
            losses = losses_of(model(x, training=True), y)
        gradients = keras_mtl.loops.tape_gradient(
            tape, losses, variables, weighting
        )
        optimizer.apply_gradients(zip(gradients, variables))

    def of_arrays(x, y):
        step(tf.constant(x), {t: tf.constant(v) for t, v in y.items()})

    return of_arrays


def jax_step(arguments, model, optimizer, weighting):
    import jax

    import keras_mtl

    fixed = [v.value for v in model.non_trainable_variables]

    def losses_of_parameters(parameters, x, y):
        outputs, _ = model.stateless_call(parameters, fixed, x, training=True)
        return losses_of(outputs, y)

    balanced = keras_mtl.loops.value_and_grad(losses_of_parameters, weighting)
    trained = {}

    @jax.jit
    def step(state, parameters, optimizer_state, x, y):
        _, gradients, state = balanced(state, parameters, x, y)
        parameters, optimizer_state = optimizer.stateless_apply(
            optimizer_state, gradients, parameters
        )
        return state, parameters, optimizer_state

    def of_arrays(x, y):
        if not trained:
            parameters = [v.value for v in model.trainable_variables]
            trained["state"] = (
                balanced.init(parameters, x, y),
                parameters,
                [v.value for v in optimizer.variables],
            )
        trained["state"] = step(*trained["state"], x, y)
        jax.block_until_ready(trained["state"])

    return of_arrays


def torch_step(arguments, model, optimizer, weighting):
    import torch

    import keras_mtl

    variables = model.trainable_variables

    def step(x, y):
        y = {task: torch.from_numpy(values) for task, values in y.items()}
        losses = losses_of(model(torch.from_numpy(x), training=True), y)
        model.zero_grad()
        keras_mtl.loops.backward(losses, weighting)
        gradients = [v.value.grad for v in variables]
        with torch.no_grad():
            optimizer.apply(gradients, variables)

    return step


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--weightings", nargs="+", default=WEIGHTINGS)
    title = "a step, of `fit` of a graph"
    paired.main(parser, measure, "own_models.json", title)


if __name__ == "__main__":
    main()
