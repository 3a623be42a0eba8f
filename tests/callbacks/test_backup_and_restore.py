"""A backup is whole at any moment; `test_killed_training.py` tests the rest."""

import functools
import json
import os
import shutil
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from keras_mtl.backend import folder_lock
from keras_mtl.backend import replicas
from keras_mtl.callbacks import BackupAndRestore
from tests import killed

METADATA = "training_metadata.json"


@functools.lru_cache
def uninterrupted():
    model = killed.make_model("uncertainty")
    history = killed.fit(model, killed.batches())
    return killed.state(model), history


def killed_in(folder, epoch, callback=BackupAndRestore, **kwargs):
    model = killed.make_model("uncertainty")
    backup = callback(folder, **kwargs)
    kill = killed.AtBatch(epoch, 0, killed.abort)
    with pytest.raises(killed.Killed):
        killed.fit(model, killed.batches(), [backup, kill])


def resumed(folder, **kwargs):
    model = killed.make_model("uncertainty", seed=1)
    backup = BackupAndRestore(folder, **kwargs)
    return model, killed.fit(model, killed.batches(), [backup])


def assert_goes_on(folder, epochs=killed.EPOCHS, **kwargs):
    """Asserts that the backup is good, and `epochs` are in the history."""
    model, history = resumed(folder, **kwargs)
    expected, whole = uninterrupted()
    killed.assert_same_end(killed.state(model), expected, (history, whole))
    assert len(history["loss"]) == epochs
    assert model.history.epoch == list(range(killed.EPOCHS - epochs, 4))


class FailFrom(keras.callbacks.Callback):
    """Lets a call fail in the second epoch's backup, as a kill would."""

    def __init__(self, patch, owner, name, call):
        super().__init__()
        self.patch, self.owner, self.name, self.call = patch, owner, name, call

    def on_epoch_end(self, epoch, logs=None):
        if epoch != 1:
            return
        function, count = getattr(self.owner, self.name), iter(range(10**6))

        def failing(*args, **kwargs):
            if next(count) == self.call:
                raise killed.Killed
            return function(*args, **kwargs)

        self.patch.setattr(self.owner, self.name, failing)


# Which function, which of its calls, and the epoch from which it goes on.
MOMENTS = {
    "weights": (h5py.Group, "__setitem__", 5, 1),
    "weights synced": (os, "fsync", 0, 1),
    "weights replaced": (os, "replace", 0, 1),
    "metadata synced": (os, "fsync", 2, 1),
    "metadata replaced": (os, "replace", 1, 1),
    "folder synced": (os, "fsync", 3, 2),
    "last weights removed": (os, "remove", 2, 2),
}


@pytest.mark.once
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_failure_in_mid_write(moment, tmp_path, monkeypatch):
    *where, epoch = MOMENTS[moment]
    model = killed.make_model("uncertainty")
    with monkeypatch.context() as patch, pytest.raises(killed.Killed):
        saves = [FailFrom(patch, *where), BackupAndRestore(tmp_path)]
        killed.fit(model, killed.batches(), saves)
    assert json.loads((tmp_path / METADATA).read_text())["epoch"] == epoch
    assert_goes_on(tmp_path)
    assert not tmp_path.exists()


@pytest.mark.once
def test_a_kill_while_the_backup_is_deleted(tmp_path, monkeypatch):
    def rmtree(path):
        raise killed.Killed

    model = killed.make_model("uncertainty")
    with monkeypatch.context() as patch, pytest.raises(killed.Killed):
        patch.setattr("shutil.rmtree", rmtree)
        killed.fit(model, killed.batches(), [BackupAndRestore(tmp_path)])
    assert os.listdir(tmp_path) and not (tmp_path / METADATA).exists()
    model = killed.make_model("uncertainty")
    history = killed.fit(model, killed.batches(), [BackupAndRestore(tmp_path)])
    expected, whole = uninterrupted()
    killed.assert_same_end(killed.state(model), expected, (history, whole))


@pytest.mark.quick_on_torch
def test_a_backup_of_keras(tmp_path):
    killed_in(tmp_path, 2, keras.callbacks.BackupAndRestore)
    assert_goes_on(tmp_path, epochs=2)


@pytest.mark.quick_on_torch
def test_killed_twice(tmp_path):
    killed_in(tmp_path, 1)
    killed_in(tmp_path, 3)
    assert_goes_on(tmp_path)


@pytest.mark.quick_on_torch
def test_a_training_that_is_done(tmp_path):
    _, first = resumed(tmp_path, delete_checkpoint=False)
    model, history = resumed(tmp_path, delete_checkpoint=False)
    assert history == first and len(history["loss"]) == killed.EPOCHS
    # Without the callback, the next training begins at its own beginning.
    assert len(killed.fit(model, killed.batches())["loss"]) == killed.EPOCHS


def break_weights(folder):
    name = json.loads((folder / METADATA).read_text())["weights"]
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    return folder / name


@pytest.mark.once
def test_broken_weights(tmp_path):
    killed_in(tmp_path, 2)
    path = break_weights(tmp_path)
    with pytest.raises(ValueError, match=f"Expected {path} .*Received"):
        resumed(tmp_path)


@pytest.mark.quick_on_torch
def test_the_backup_before(tmp_path):
    killed_in(tmp_path, 3, double_checkpoint=True)
    break_weights(tmp_path)
    killed_in(tmp_path, 3, double_checkpoint=True)
    break_weights(tmp_path)
    assert_goes_on(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        "",
        '{"epoch": 2, "ba',
        "[]",
        '{"epoch": 2}',
        '{"epoch": "x", "batch": 0}',
        '{"epoch": Infinity, "batch": 0}',
        '{"epoch": -1, "batch": 0}',
        '{"epoch": ' + 5000 * "[",
        '{"epoch": 2, "batch": 0, "weights": "../other.weights.h5"}',
        '{"epoch": 2, "batch": 0, "weights": "a", "history": 3}',
    ],
)
def test_broken_metadata(content, tmp_path):
    (tmp_path / METADATA).write_text(content)
    path = tmp_path / METADATA
    with pytest.raises(ValueError, match=f"Expected {path} .*Received: "):
        resumed(tmp_path)


def test_a_backup_of_another_model(tmp_path):
    killed_in(tmp_path, 2)
    x = keras.Input((2,))
    model = keras.Model(x, layers.Dense(1)(layers.Dense(3)(x)))
    model.compile("adam", "mse")
    with pytest.raises(ValueError):
        model.fit(
            np.ones((2, 2)),
            np.ones((2, 1)),
            callbacks=[BackupAndRestore(tmp_path)],
            verbose=0,
        )


@pytest.mark.quick_on_torch
def test_a_plain_model(tmp_path):
    def train(*callbacks):
        keras.utils.set_random_seed(0)
        x = keras.Input((3,))
        model = keras.Model(x, layers.Dense(1)(x))
        model.compile("adam", "mse")
        history = model.fit(
            killed.X,
            killed.Y["b"],
            shuffle=False,
            epochs=4,
            verbose=0,
            callbacks=list(callbacks),
        )
        return model.get_weights(), history.history["loss"]

    weights, losses = train()
    with pytest.raises(killed.Killed):
        train(BackupAndRestore(tmp_path), killed.AtBatch(2, 0, killed.abort))
    resumed_weights, resumed_losses = train(BackupAndRestore(tmp_path))
    np.testing.assert_allclose(resumed_losses, losses, 1e-6)
    for new, old in zip(resumed_weights, weights, strict=True):
        np.testing.assert_allclose(new, old, 1e-6, 1e-6)


@pytest.mark.quick_on_torch
def test_backups_in_mid_epoch(tmp_path):
    killed_in(tmp_path, 2, save_freq=3)
    metadata = json.loads((tmp_path / METADATA).read_text())
    assert metadata["epoch"] == 1
    killed_in(tmp_path, 2, save_freq=3)
    # Counted from the restored epoch, as in the first process.
    assert json.loads((tmp_path / METADATA).read_text())["epoch"] == 2
    _, history = resumed(tmp_path)
    assert len(history["loss"]) == killed.EPOCHS


def test_remote_folders():
    with pytest.raises(ValueError, match="Received: backup_dir=gs://bucket"):
        BackupAndRestore("gs://bucket")


def clean(path):
    """As a cleaner of temporary files does."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


@pytest.mark.once
@pytest.mark.parametrize("name", ["", "0.weights.h5", METADATA, ".lock"])
def test_files_that_are_gone(name, tmp_path):
    folder = tmp_path / "backup"
    model = killed.make_model("uncertainty")
    backup = BackupAndRestore(folder)
    gone = killed.AtBatch(1, 0, lambda: clean(folder / name))
    history = killed.fit(model, killed.batches(), [backup, gone])
    expected, whole = uninterrupted()
    killed.assert_same_end(killed.state(model), expected, (history, whole))
    assert not folder.exists()


HOLD = """
import runpy, sys, time
runpy.run_path(sys.argv[1])["take"](sys.argv[2])
print("held", flush=True)
time.sleep(60)
"""


@pytest.mark.once
@pytest.mark.skipif(folder_lock.fcntl is None, reason="no locks on Windows")
def test_the_folder_of_another_process(tmp_path):
    killed_in(tmp_path, 2)
    folder_lock.free(tmp_path)
    command = [sys.executable, "-c", HOLD, folder_lock.__file__, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        match = f"{tmp_path}, in use by process {process.pid} on .*another fold"
        with pytest.raises(ValueError, match=match):
            resumed(tmp_path)
        assert json.loads((tmp_path / METADATA).read_text())["epoch"] == 2
        process.kill()
    # The lock of a process that was killed is none.
    assert (tmp_path / ".lock").exists()
    assert_goes_on(tmp_path)
    assert not tmp_path.exists()


@pytest.mark.once
def test_other_processes_of_one_training_write_nothing(tmp_path, monkeypatch):
    killed_in(tmp_path, 2)
    folder_lock.free(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(replicas, "is_first_process", lambda model: False)
        assert_goes_on(tmp_path)
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before
