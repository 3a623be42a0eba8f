"""With every method and policy, a killed training ends as if it had not been.

A kill leaves nothing but files. So it is here a copy of the files at a random
batch of a training, from which another model, of another seed, goes on. This
module's last test and `test_resume.py` kill processes.
"""

import contextlib
import functools
import os
import shutil
import signal
import zlib

import keras
import numpy as np
import pytest

from keras_mtl import callbacks
from keras_mtl import weightings
from tests import killed

pytestmark = pytest.mark.quick_on_torch(1)

# With the agent of igb_v2, `test_resume.py` kills.
# `make test` kills one of each kind of state, `make test-slow` the others.
KINDS = {
    "equal": "none",
    "db_mtl": "moving averages",
    "famo": "losses after a step",
    "uncertainty": "trained by an optimizer of its own",
    "pcgrad": "a seed",
    "dwa": "epochs",
    "nash_mtl": "weights that are kept for some steps",
    "cr_mogm": "that of another weighting",
    "chain": "that of two others",
    "exp3s": "a sampler's, of a policy that learns",
}
METHODS = [name for name in weightings.names() if name != "igb_v2"] + ["chain"]
# Those that differ in what they keep: an optimizer, seeds, epochs.
IN_FILES = ["uncertainty", "random", "chain"]


def moment(name):
    """A random epoch that is not the first, and a random batch of it."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    epoch, batch = rng.integers((1, 0), (killed.EPOCHS, killed.STEPS))
    return int(epoch), int(batch)


def parts(name, seed):
    if name in killed.POLICIES:
        return killed.make_model(seed=seed), killed.sampler(name, seed)
    return killed.make_model(name, seed), killed.batches()


def train(name, folder):
    """Trains to the end.

    Returns:
        Function that asserts that a training which went on from `folder` /
        "left", what a kill would have left, ended as this one.
    """
    model, data = parts(name, seed=0)
    saves = [
        callbacks.BackupAndRestore(folder / "saved" / "backup"),
        keras.callbacks.ModelCheckpoint(folder / "saved" / "{epoch}.keras"),
        keras.callbacks.ModelCheckpoint(
            folder / "saved" / "{epoch}.weights.h5", save_weights_only=True
        ),
    ]
    if name not in (*IN_FILES, *killed.POLICIES):
        del saves[1:]
    copy = functools.partial(shutil.copytree, folder / "saved", folder / "left")
    kill = killed.AtBatch(*moment(name), copy)
    whole = killed.fit(model, data, [*saves, kill])
    expected = killed.state(model, data)

    def check(model, data, history):
        found = killed.state(model, data)
        killed.assert_same_end(found, expected, (history, whole))

    return check


def test_every_kind_is_known():
    assert set(KINDS) <= {*METHODS, *killed.POLICIES}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in KINDS else pytest.mark.slow)
        for name in [*METHODS, *killed.POLICIES]
    ],
)
def test_backups(name, tmp_path):
    check = train(name, tmp_path)
    model, data = parts(name, seed=1)
    backup = callbacks.BackupAndRestore(tmp_path / "left" / "backup")
    history = killed.fit(model, data, [backup])
    check(model, data, history)
    assert len(history["loss"]) == killed.EPOCHS


@pytest.mark.parametrize("name", [*IN_FILES, "exp3s"])
def test_checkpoints(name, tmp_path):
    check = train(name, tmp_path)
    epoch, _ = moment(name)
    path = tmp_path / "left" / f"{epoch}"
    model, data = parts(name, seed=1)
    model.optimizer.build(model.trainable_variables)
    model.load_weights(f"{path}.weights.h5")
    go_on(check, model, data, epoch)
    _, data = parts(name, seed=2)
    model = keras.models.load_model(f"{path}.keras")
    go_on(check, model, data, epoch)


def go_on(check, model, data, epoch):
    if model.selection_state is not None:
        data.set_state(model.selection_state)
    keras.utils.set_random_seed(3)
    history = killed.fit(model, data, initial_epoch=epoch)
    check(model, data, history)


REALLY = {"pcgrad": (2, 1), "exp3s": (1, 0), "chain": (3, 1)}


def train_and_die(folder):
    """What the other process does: only its last training ends it."""
    *others, _ = REALLY
    for name, when in REALLY.items():
        model, data = parts(name, seed=0)
        backup = callbacks.BackupAndRestore(os.path.join(folder, name))
        end = killed.abort if name in others else killed.die
        with contextlib.suppress(killed.Killed):
            killed.fit(model, data, [backup, killed.AtBatch(*when, end)])


@pytest.mark.slow
@pytest.mark.skipif(
    not hasattr(signal, "SIGKILL"), reason="signals are those of POSIX"
)
def test_a_process_that_is_killed(tmp_path):
    code = (
        "from tests import test_killed_training; "
        f"test_killed_training.train_and_die({str(tmp_path)!r})"
    )
    killed.run_until_killed(code)
    for name in REALLY:
        model, data = parts(name, seed=0)
        uninterrupted = killed.fit(model, data)
        expected = killed.state(model, data)
        model, data = parts(name, seed=1)
        backup = callbacks.BackupAndRestore(tmp_path / name)
        history = killed.fit(model, data, [backup])
        killed.assert_same_end(
            killed.state(model, data), expected, (history, uninterrupted)
        )
