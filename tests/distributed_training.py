"""Trainings for `test_distribution`, on one device or on several.

As a script it sets up devices, which must come before anything else, and
writes what the trainings come to:

    python -m tests.distributed_training KIND FILE [CASE ...]
"""

import contextlib
import json
import os
import sys

import keras
import numpy as np
from keras import layers
from keras import ops

from keras_mtl import MultiLossModel
from keras_mtl import MultiTaskModel
from keras_mtl import weightings
from tests import utils

# The size of a batch, and the number of examples. A last batch of 5 is split
# into 3 and 2, and in the case "eager" one of 1 into 1 and 0; workers and the
# devices of JAX need equal parts.
SIZES = {
    "mirrored": (8, 21),
    "workers": (8, 16),
    "jax": (4, 12),
    "processes": (8, 21),
}
TASKS = ("a", "b", "c")
EPOCHS = 4
IS_TENSORFLOW = keras.backend.backend() == "tensorflow"
IS_JAX = keras.backend.backend() == "jax"


def set_up_devices(kind):
    """Returns the strategy of TensorFlow, `None` on JAX.

    The processes of PyTorch have something alike.
    """
    if kind == "processes":
        return Processes()
    if kind == "jax":
        os.environ["XLA_FLAGS"] = (
            os.environ.get("XLA_FLAGS", "")
            + " --xla_force_host_platform_device_count=2"
        )
        devices = keras.distribution.list_devices("cpu")
        keras.distribution.set_distribution(
            keras.distribution.DataParallel(devices=devices)
        )
        return None
    import tensorflow as tf

    if kind == "workers":
        return tf.distribute.MultiWorkerMirroredStrategy()
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * 2,
    )
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


class Processes:
    """The processes of PyTorch, in place of a strategy of TensorFlow."""

    def __init__(self):
        from torch import distributed

        distributed.init_process_group("gloo")
        self.rank = distributed.get_rank()

    def scope(self):
        return contextlib.nullcontext()

    def experimental_local_results(self, value):
        return [ops.convert_to_numpy(value)]


class PartsOfBatches(keras.utils.PyDataset):
    """What one of two processes has of the batches of arrays."""

    def __init__(self, arrays, batch, rank):
        super().__init__()
        self._arrays, self._batch, self._rank = arrays, batch, rank
        self._examples = len(arrays[0])

    @property
    def num_batches(self):
        return -(-self._examples // self._batch)

    def __getitem__(self, index):
        start = index * self._batch

        def part(array):
            of_batch = array[start : start + self._batch]
            return np.array_split(of_batch, 2)[self._rank]

        return tuple(
            {k: v if v is None else part(v) for k, v in arrays.items()}
            if isinstance(arrays, dict)
            else part(arrays)
            for arrays in self._arrays
        )


def sgd(**kwargs):
    return keras.optimizers.SGD(0.05, momentum=0.5, **kwargs)


LOSS_BALANCING = {
    "equal": weightings.Equal,
    "uncertainty": weightings.Uncertainty,
    "igb_v1": weightings.IGBv1,
    "igb_v2": lambda: utils.quick_igb_v2(buffer_size=8, seed=1),
    "bandit_mtl": weightings.BanditMTL,
    "famo": weightings.FAMO,
}
GRADIENT_BALANCING = {
    "nash_mtl": weightings.NashMTL,
    "nash_mtl_every_2": lambda **kwargs: weightings.NashMTL(
        update_every=2, **kwargs
    ),
    "mgda": weightings.MGDA,
    "pcgrad": lambda **kwargs: weightings.PCGrad(seed=3, **kwargs),
    "graddrop": lambda **kwargs: weightings.GradDrop(seed=3, **kwargs),
    "trimmed_mean": weightings.TrimmedMean,
    "gradnorm": weightings.GradNorm,
    "gramian_batch": lambda **kwargs: weightings.NashMTL(
        gramian_batch=0.5, **kwargs
    ),
}
MODES = ("parameters", "features")
OPTIMIZERS = {
    "gradient_accumulation": lambda: sgd(gradient_accumulation_steps=2),
    # The scale grows, and no gradient overflows.
    "loss_scale": lambda: keras.optimizers.LossScaleOptimizer(
        sgd(), initial_scale=256.0, dynamic_growth_steps=3
    ),
    # The loss that is a sum is large: a larger rate would amplify the rounding
    # of one bit of the inputs to 4e-5.
    "other_losses": lambda: keras.optimizers.SGD(0.02, momentum=0.5),
}
CASES = [
    *LOSS_BALANCING,
    *(f"{name}/{mode}" for name in GRADIENT_BALANCING for mode in MODES),
    "igb_v1+nash_mtl",
    "own_losses/uncertainty",
    "own_losses/nash_mtl",
    "own_losses/famo",
    "shared_last",
    "other_losses",
    "eager",
    "loss_scale",
]
if IS_TENSORFLOW:
    CASES += ["synchronized", "synchronized_every_2"]
else:
    CASES += ["gradient_accumulation"]


def make_weighting(case):
    if case in LOSS_BALANCING:
        return LOSS_BALANCING[case]()
    if case in ("other_losses", "eager"):
        return weightings.Equal()
    if case in OPTIMIZERS:
        return weightings.NashMTL()
    if case == "shared_last":
        return weightings.NashMTL(shared="last")
    if case.startswith("synchronized"):
        every = 2 if case.endswith("every_2") else 1
        return weightings.NashMTL(update_every=every)
    if "+" in case:
        return weightings.get(case.split("+"))
    name, mode = case.split("/")
    if name == "own_losses":
        return weightings.get(mode)
    return GRADIENT_BALANCING[name](gradients=mode)


def make_data(examples):
    """Features and labels, of which more are missing in the first half."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(examples, 3)).astype("float32")
    scales = {"a": 1.0, "b": 5.0, "c": 0.3}
    y = {t: 1 + scales[t] * rng.normal(size=(examples, 2)) for t in TASKS}
    y["b"][: examples // 2 : 2, 0] = np.nan
    return x, {t: labels.astype("float32") for t, labels in y.items()}


def first_halves_first(array, batch):
    """Puts first, in each batch, the first halves of what two replicas have."""
    parts = []
    for start in range(0, len(array), batch):
        of_replicas = np.array_split(array[start : start + batch], 2)
        halves = [np.array_split(part, 2) for part in of_replicas]
        parts += [first for first, _ in halves] + [rest for _, rest in halves]
    return np.concatenate(parts)


def scalar_loss(y_true, y_pred):
    return ops.mean(ops.abs(y_true - y_pred))


def make_losses(case):
    """Losses, and sample weights if the case has some."""
    if case != "other_losses":
        return dict.fromkeys(TASKS, "mse"), None
    losses = {
        "a": keras.losses.MeanSquaredError(reduction="sum"),
        "b": keras.losses.MeanSquaredError(reduction="mean_with_sample_weight"),
        "c": scalar_loss,
    }
    return losses, {"a": [1.0, 2.0, 0.5], "b": [0.0, 3.0, 1.0], "c": None}


def make_model(case="equal"):
    inputs = keras.Input((3,))
    trunk = layers.Dense(
        4, activation="tanh", kernel_regularizer="l2", name="trunk"
    )
    features = trunk(inputs)
    if case == "shared_last":
        features = layers.Dense(4, activation="tanh", name="last")(features)
    if case.startswith("synchronized"):
        # The replicas meet in the pass forward, and in that backward.
        features = layers.BatchNormalization(synchronized=True)(features)
        features = layers.Dense(4, name="last")(features)
    outputs = {task: layers.Dense(2, name=task)(features) for task in TASKS}
    return MultiTaskModel(inputs, outputs)


class OwnLosses(MultiLossModel):
    """Its losses are means, so that those of equal parts have the whole's."""

    def __init__(self):
        super().__init__()
        self.trunk = layers.Dense(
            4, activation="tanh", kernel_regularizer="l2", name="trunk"
        )
        self.heads = {task: layers.Dense(2, name=task) for task in "ab"}

    def call(self, x):
        h = self.trunk(x)
        return {task: head(h) for task, head in self.heads.items()}

    def compute_task_losses(
        self, x, y, y_pred, sample_weight=None, training=True
    ):
        losses = {t: ops.mean((y[t] - y_pred[t]) ** 2) for t in "ab"}
        return {**losses, "size": ops.mean(y_pred["a"] * y_pred["b"])}


def compile_model(case):
    if case.startswith("own_losses"):
        model = OwnLosses()
        model.compile(sgd(), weighting=make_weighting(case))
        return model
    model = make_model(case)
    losses, _ = make_losses(case)
    model.compile(
        OPTIMIZERS.get(case, sgd)(),
        loss=losses,
        loss_weights={"a": 2.0, "b": 1.0, "c": 1.0},
        metrics={"a": ["mae"], "b": ["mae"]},
        weighting=make_weighting(case),
        run_eagerly=case == "eager",
    )
    return model


def train(case, batch, examples, strategy=None):
    """Trains a model, on the replicas of a strategy if one is given.

    Returns:
        Dict of `network`, a list of arrays; `states`, for each replica a list
        of arrays, the variables of the weighting; `history`; and `gramian`
        where it was computed.
    """
    keras.utils.set_random_seed(0)
    is_eager = case == "eager"
    if is_eager:
        examples -= 4
    x, y = make_data(examples)
    if case.startswith("gramian_batch") and strategy is None and not IS_JAX:
        # Each replica takes the first examples of its own part.
        x, y = keras.tree.map_structure(
            lambda array: first_halves_first(array, batch), (x, y)
        )
    if case.startswith("own_losses"):
        # No labels are missing, and all parts of batches are of one size.
        examples -= examples % batch
        x, y = x[:examples], {t: np.nan_to_num(y[t][:examples]) for t in "ab"}
    _, sample_weight = make_losses(case)
    if sample_weight is not None:
        sample_weight = {
            task: np.resize(weight or 1.0, examples).astype("float32")
            for task, weight in sample_weight.items()
        }
    with strategy.scope() if strategy else contextlib.nullcontext():
        model = compile_model(case)
    data = {"x": x, "y": y, "sample_weight": sample_weight, "batch_size": batch}
    validation_data = (x, y)
    if isinstance(strategy, Processes):
        arrays = (x, y) if sample_weight is None else (x, y, sample_weight)
        data = {"x": PartsOfBatches(arrays, batch, strategy.rank)}
        validation_data = PartsOfBatches((x, y), batch, strategy.rank)
    history = model.fit(
        **data,
        epochs=EPOCHS,
        shuffle=False,
        verbose=0,
        # Outside of the strategy's scope.
        weighting="gradnorm" if is_eager else None,
        validation_data=validation_data if is_eager else None,
    )
    gramian = model.gramian(x, y).tolist() if is_eager else []
    copies = [copies_of(v, strategy) for v in model.weighting.variables]
    return {
        "network": [np.asarray(w).tolist() for w in model.get_weights()],
        "states": [
            [np.asarray(copy).tolist() for copy in state]
            for state in zip(*copies)
        ],
        "history": history.history,
        "gramian": gramian,
    }


def copies_of(variable, strategy):
    """Lists the values that the replicas have of a variable."""
    if strategy is not None:
        return strategy.experimental_local_results(variable.value)
    if IS_JAX:
        return [s.data for s in variable.value.addressable_shards]
    return [ops.convert_to_numpy(variable)]


# One of each kind: a trained weighting, random numbers, losses after the step,
# losses of one's own, and features in some of the steps. `make test` trains
# these, and `make test-slow` the others.
FEW = {"uncertainty", "own_losses/nash_mtl", "nash_mtl_every_2/features"}
if IS_TENSORFLOW:
    FEW = {"uncertainty", "own_losses/nash_mtl", "synchronized_every_2"}
if not IS_TENSORFLOW and not IS_JAX:
    FEW |= {"famo", "pcgrad/parameters"}


if __name__ == "__main__":
    kind, path, *cases = sys.argv[1:]
    # Before anything is computed.
    strategy = set_up_devices(kind)
    results = {c: train(c, *SIZES[kind], strategy) for c in cases or CASES}
    with open(path, "w", encoding="utf-8") as file:
        json.dump(results, file)
