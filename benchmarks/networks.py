"""The networks and the random data that the benchmarks train on."""

FILTERS = (32, 64, 64)
SHAPES = {"mlp": (64,), "cnn": (32, 32, 3)}


def mlp(cls, num_tasks, width=512, depth=4, seed=0):
    """A trunk 64-512-512-512-512 and a head of two dense layers for each task.

    Args:
        cls: `keras.Model` or `keras_mtl.MultiTaskModel`.
        num_tasks: The number of heads; one alone is the output itself.
        width: Units of each layer of the trunk.
        depth: Layers of the trunk.
        seed: Of the initial weights.
    """
    import keras

    keras.utils.set_random_seed(seed)
    inputs = keras.Input((64,))
    features = inputs
    for _ in range(depth):
        features = keras.layers.Dense(width, activation="relu")(features)
    return cls(inputs, heads(features, num_tasks))


def cnn(cls, num_tasks, seed=0):
    """Three convolutions of stride 2 on images, and heads as those of `mlp`."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(seed)
    inputs = features = keras.Input(SHAPES["cnn"])
    for filters in FILTERS:
        features = layers.Conv2D(
            filters, 3, strides=2, padding="same", activation="relu"
        )(features)
    return cls(inputs, heads(layers.Flatten()(features), num_tasks))


def early_exits(cls, num_tasks, early, width=1024, depth=9, seed=0):
    """A trunk, and heads of one layer; some come after its first layer."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(seed)
    inputs = features = keras.Input((64,))
    outputs = {}
    for place in range(depth):
        features = layers.Dense(width, activation="relu")(features)
        tasks = {0: range(early), depth - 1: range(early, num_tasks)}
        for i in tasks.get(place, ()):
            outputs[f"task_{i}"] = layers.Dense(1)(features)
    return cls(inputs, outputs)


def heads(features, num_tasks):
    from keras import layers

    outputs = {}
    for i in range(num_tasks):
        hidden = layers.Dense(32, activation="relu")(features)
        outputs[f"task_{i}"] = layers.Dense(1)(hidden)
    return outputs if num_tasks > 1 else outputs["task_0"]


def data(input_shape, size, num_tasks, seed=0):
    """Normal inputs and, for each task, normal targets."""
    import numpy as np

    rng = np.random.default_rng(seed)
    x = rng.normal(size=(size, *input_shape)).astype("float32")
    y = {
        f"task_{i}": rng.normal(size=(size, 1)).astype("float32")
        for i in range(num_tasks)
    }
    return x, y
