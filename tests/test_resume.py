"""Training that is killed and started again ends as if nothing had been.

The replay buffer, the agent, its optimizers and what the weighting remembers
are restored by `keras.callbacks.BackupAndRestore` with the network.
"""

import importlib.util
import json
import os
import signal

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_mtl
from tests import utils
from tests.killed import run_until_killed

RNG = np.random.default_rng(4)
STEPS, BATCH = 4, 8
X = RNG.normal(size=(STEPS * BATCH, 3)).astype("float32")
Y = {
    "a": X @ RNG.normal(size=(3, 1)),
    "b": 10 * RNG.normal(size=(STEPS * BATCH, 1)),
}
Y = {task: y.astype("float32") for task, y in Y.items()}
BASE_EPOCH, UPDATE_EPOCH, USE_EPOCH, EPOCHS = 2, 3, 4, 8

needs_tf_agents = pytest.mark.skipif(
    utils.BACKEND != "tensorflow"
    or any(
        importlib.util.find_spec(name) is None
        for name in ("tf_agents", "tf_keras")
    ),
    reason="TF-Agents needs the TensorFlow backend, and is an extra",
)


class Kill(keras.callbacks.Callback):
    """Ends the process at once, in the middle of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        self.is_due = epoch + 1 == self.epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.is_due and batch == STEPS // 2:
            os.kill(os.getpid(), signal.SIGKILL)


def train(agent, folder=None, kill_in=None, seed=0):
    """Trains a model, from the backup in `folder` if there is one."""
    keras.utils.set_random_seed(seed)
    x = keras.Input((3,))
    h = layers.Dense(6, activation="tanh")(x)
    h = layers.BatchNormalization()(h)
    h = layers.Dropout(0.2)(h)
    model = keras_mtl.MultiTaskModel(x, {t: layers.Dense(1)(h) for t in Y})
    rate = keras.optimizers.schedules.CosineDecay(0.02, EPOCHS * STEPS)
    model.compile(
        keras.optimizers.Adam(rate),
        loss={"a": "mae", "b": "mse"},
        weighting=keras_mtl.weightings.IGBv2(
            agent=agent,
            base_epoch=BASE_EPOCH,
            update_epoch=UPDATE_EPOCH,
            use_epoch=USE_EPOCH,
            update_every=3,
            updates=4,
            batch_size=8,
            # Less than the steps after the base epoch: the ring is full.
            buffer_size=10,
            learning_rate=0.01,
            hidden_units=(8, 8),
        ),
    )
    callbacks = []
    if folder is not None:
        callbacks.append(keras.callbacks.BackupAndRestore(folder))
    if kill_in is not None:
        callbacks.append(Kill(kill_in))
    history = model.fit(
        keras_mtl.datasets.ShuffledBatches(X, Y, batch_size=BATCH, seed=2),
        epochs=EPOCHS,
        verbose=0,
        callbacks=callbacks,
    )
    return model, history.history


def state(model):
    """Dict of what to arrays: all that the next step depends on."""
    learner = model.weighting.learner
    agent = getattr(learner, "tf_variables", learner.variables)
    agent = [ops.convert_to_numpy(ops.convert_to_tensor(v)) for v in agent]
    own = {id(v) for v in (*learner.variables, *model.weighting.buffer.weights)}
    return {
        "network": model.get_weights(),
        "optimizer": utils.arrays(model.optimizer.variables),
        "agent": agent,
        "buffer": utils.arrays(model.weighting.buffer.variables),
        "weighting": utils.arrays(
            [v for v in model.weighting.variables if id(v) not in own]
        ),
    }


def killed(agent, folder, kill_in):
    """Trains in a process of its own, which is killed in an epoch."""
    code = (
        "from tests import test_resume; "
        f"test_resume.train({agent!r}, {str(folder)!r}, {kill_in})"
    )
    run_until_killed(code)
    metadata = json.loads((folder / "training_metadata.json").read_text())
    assert metadata["epoch"] == kill_in - 1


# Relative and absolute. On a machine with other jobs, the threads of JAX may
# add up in another order in one of the processes: seen were 6e-6 and 1.6e-6.
IS_JAX = keras.backend.backend() == "jax"
TOLERANCE = (2e-5, 2e-5) if IS_JAX else (1e-6, 1e-6)


def check_that_the_agent_learned(weighting):
    assert int(weighting.epochs + 0) == EPOCHS
    assert int(weighting.buffer.added + 0) > weighting.buffer_size
    # By the ratio of the learning rates, the reward has been scaled.
    assert float(weighting.last_scale + 0) > 1
    if weighting.agent == "keras":
        assert int(weighting.learner.state["updates"] + 0) > 10
    else:
        optimizer = weighting.learner.optimizers["actor"]
        assert int(optimizer.iterations) > 10


@pytest.mark.skipif(
    not hasattr(signal, "SIGKILL"), reason="signals are those of POSIX"
)
@pytest.mark.parametrize(
    "agent, kills",
    [
        pytest.param("keras", [USE_EPOCH + 2], marks=pytest.mark.slow),
        pytest.param(
            "keras", [BASE_EPOCH, USE_EPOCH + 2], marks=pytest.mark.slow
        ),
        pytest.param(
            "tf_agents",
            [USE_EPOCH + 2],
            marks=[needs_tf_agents, pytest.mark.slow],
        ),
    ],
)
def test_killed_training_goes_on_as_it_would_have(agent, kills, tmp_path):
    expected, uninterrupted = train(agent)
    check_that_the_agent_learned(expected.weighting)
    for epoch in kills:
        killed(agent, tmp_path / "backup", epoch)
    # Whatever the backup lacks would be that of another seed.
    resumed, history = train(agent, tmp_path / "backup", seed=1)
    for key, values in history.items():
        rest = uninterrupted[key][kills[-1] - 1 :]
        np.testing.assert_allclose(values, rest, *TOLERANCE, err_msg=key)
    found = state(resumed)
    for name, arrays in state(expected).items():
        assert len(arrays) == len(found[name]) > 0, name
        for new, old in zip(found[name], arrays):
            np.testing.assert_allclose(new, old, *TOLERANCE, err_msg=name)
