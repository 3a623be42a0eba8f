"""Trainings that are killed, and all on which their next step depends."""

import os
import pathlib
import signal
import subprocess
import sys

import keras
import numpy as np
from keras import layers

import keras_mtl
from keras_mtl import selection
from keras_mtl import weightings
from tests import utils

TASKS = ("a", "b")
EPOCHS, STEPS, BATCH = 4, 2, 4
RNG = np.random.default_rng(7)
# The last batch is smaller.
X = RNG.normal(size=(STEPS * BATCH - 1, 3)).astype("float32")
Y = {"a": X[:, :1], "b": 3 + 2 * X[:, 1:2] * X[:, 2:]}
POLICIES = {
    "uniform": selection.Uniform,
    "size_proportional": selection.SizeProportional,
    "exp3s": selection.Exp3S,
    "fixed": lambda: selection.Fixed([0.3, 0.7]),
}


def run_until_killed(code):
    """Runs Python code in a process of its own, which must be killed."""
    root = pathlib.Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        cwd=root,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


class Killed(BaseException):
    """Passes through everything, as a kill does."""


class AtBatch(keras.callbacks.Callback):
    """Calls a function in the middle of an epoch.

    Args:
        epoch: Index of the epoch.
        batch: Index of the batch after which it is called.
        function: Function without arguments.
    """

    def __init__(self, epoch, batch, function):
        super().__init__()
        self.moment = epoch, batch
        self.function = function

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.moment:
            self.function()


def die():
    """Ends the process at once."""
    os.kill(os.getpid(), signal.SIGKILL)


def abort():
    """Ends the training without any clean-up."""
    raise Killed


def make_weighting(name):
    """Returns a weighting, all of whose parts act within four epochs."""
    if name == "chain":
        return weightings.get(["igb_v1", "nash_mtl"])
    if name == "nash_mtl":
        return weightings.NashMTL(update_every=3)
    if name == "igb_v2":
        return utils.quick_igb_v2(
            update_every=1, updates=1, batch_size=2, buffer_size=3
        )
    return weightings.get(name)


def make_model(weighting="equal", seed=0, **kwargs):
    """A model with dropout and batch statistics."""
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(seed)
    x = keras.Input((3,))
    h = layers.Dense(4, activation="tanh")(x)
    h = layers.BatchNormalization()(h)
    h = layers.Dropout(0.4)(h)
    model = keras_mtl.MultiTaskModel(x, {t: layers.Dense(1)(h) for t in TASKS})
    model.compile(
        keras.optimizers.Adam(0.02),
        loss={task: "mse" for task in TASKS},
        weighting=make_weighting(weighting),
        **{**utils.EAGER, **kwargs},
    )
    return model


def batches():
    return keras_mtl.datasets.ShuffledBatches(X, Y, batch_size=BATCH, seed=5)


def sampler(policy, seed=0):
    data = {"a": (X, Y["a"]), "b": (X[:5], Y["b"][:5])}
    return selection.TaskSampler(
        data, POLICIES[policy](), batch_size=2, steps_per_epoch=3, seed=seed
    )


def fit(model, data, callbacks=(), **kwargs):
    options = {"epochs": EPOCHS, "verbose": 0, **kwargs}
    return model.fit(data, callbacks=list(callbacks), **options).history


def state(model, data=None):
    """Dict of what to arrays: all on which the next step depends."""
    arrays = {
        "network": model.get_weights(),
        "optimizer": utils.arrays(model.optimizer.variables),
        "weighting": utils.arrays(model.weighting.variables),
        "seeds": utils.arrays(
            v for v in model.variables if v.name == "seed_generator_state"
        ),
    }
    if isinstance(data, selection.TaskSampler):
        arrays["sampler"] = list(data.get_state().values())
    return arrays


def assert_same_end(found, expected, histories):
    """Asserts that two trainings ended alike.

    Args:
        found, expected: What `state` returns.
        histories: The history of the one that was resumed, and of the other.
    """
    for name, arrays in expected.items():
        assert len(arrays) == len(found[name]), name
        for new, old in zip(found[name], arrays):
            np.testing.assert_allclose(new, old, 1e-6, 1e-6, err_msg=name)
    resumed, uninterrupted = histories
    assert set(resumed) == set(uninterrupted)
    for key, values in resumed.items():
        rest = uninterrupted[key][-len(values) :]
        np.testing.assert_allclose(values, rest, 1e-6, 1e-6, err_msg=key)
