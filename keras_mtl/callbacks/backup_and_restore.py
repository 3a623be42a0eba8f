import contextlib
import json
import os
import shutil
import tempfile
from typing import Any

import keras
import numpy as np

from keras_mtl.backend import files
from keras_mtl.backend import folder_lock
from keras_mtl.backend import replicas
from keras_mtl.backend.files import BrokenFileError
from keras_mtl.backend.keras_internals import is_remote_path

METADATA = "training_metadata.json"
# The file of the weights in a backup that Keras's callback has written: its
# metadata do not name it.
KERAS_WEIGHTS = "latest.weights.h5"


class BackupAndRestore(keras.callbacks.BackupAndRestore):
    """`keras.callbacks.BackupAndRestore`, whose backup is whole at any moment.

    Keras writes the weights and the number of the epoch one after the other,
    and a kill in between leaves the weights of one epoch with the number of
    another. Here the weights are in a file of their own each time, and one
    replacement of the metadata, which name it, makes it the backup. A kill at
    any moment leaves this backup or the one before.

    A `MultiTaskModel` that is restored after an epoch, by a new process, say,
    ends as it would have without the interruption: the weights, the state of
    the optimizer, of the weighting, of a `TaskSampler` and of the layers'
    random numbers are restored, and the history goes on. The order of the data
    must be the same again: `keras_mtl.datasets.ShuffledBatches`, or
    `shuffle=False`. Other callbacks begin anew, as Keras' do.

    A backup in the middle of an epoch (`save_freq=100`) saves weights that are
    more recent; the epoch is then gone through from its beginning once more.

    While a training runs, it alone may use the folder: the file `.lock` in it
    names the process, and another training that is given the folder raises an
    error. The system takes the lock from a process that ends or is killed.
    (There is no lock on Windows, and in file systems without locks.) Where
    several processes train one model together, such as the workers of
    TensorFlow or those of PyTorch, all are given the same folder: the first one
    writes the backup, and all restore it.

    Args:
        backup_dir: Folder on this machine, for these files alone. A backup of
            Keras' callback in it is restored, too.
        save_freq: `"epoch"`, or a number of batches.
        double_checkpoint: Whether to keep the backup before, too, which is
            restored where the file of the last one is broken.
        delete_checkpoint: Whether the backup is deleted when `fit` is done.

    Example:

    ```python
    backup = keras_mtl.callbacks.BackupAndRestore("backup")
    model.fit(batches, epochs=10, callbacks=[backup])
    ```

    Raises:
        ValueError: If an argument is not as said; when training begins, if the
            files in `backup_dir` are no backup of this model, or broken, or
            another training uses the folder.
    """

    def __init__(
        self,
        backup_dir: str | os.PathLike,
        save_freq: str | int = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
    ) -> None:
        super().__init__(
            backup_dir, save_freq, double_checkpoint, delete_checkpoint
        )
        if is_remote_path(os.fspath(backup_dir)):
            raise ValueError(
                "Expected `backup_dir` to be a folder on this machine; "
                "`keras.callbacks.BackupAndRestore` takes others. "
                f"Received: backup_dir={backup_dir}"
            )
        self._metadata_path = os.path.join(backup_dir, METADATA)
        self._backups: list[dict[str, Any]] = []
        self._logs: list[tuple[int, dict[str, Any]]] = []
        self._is_restored = False
        self._owns_folder = True

    def on_train_begin(self, logs: Any = None) -> None:
        self._logs = []
        self._owns_folder = replicas.is_first_process(self.model)
        if self._owns_folder:
            folder_lock.take(self.backup_dir)
        self._backups = self._read()
        while self._backups:
            try:
                return self._restore(self._backups[0])
            except OSError:
                if len(self._backups) == 1:
                    raise
                del self._backups[0]

    def _restore(self, backup: dict[str, Any]) -> None:
        optimizer = self.model.optimizer
        if optimizer is not None and not optimizer.built:
            optimizer.build(self.model.trainable_variables)
        self.model.load_weights(self._path(backup["weights"]))
        self.model._initial_epoch = backup["epoch"]
        self._logs = list(backup["history"])
        self._is_restored = True

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._current_epoch = epoch
        # Keras empties the `History` after this callback's `on_train_begin`,
        # so the past epochs are put back here.
        self._restore_history()

    def _restore_history(self) -> None:
        if self._is_restored:
            self._is_restored = False
            for epoch, logs in self._logs:
                self.model.history.on_epoch_end(epoch, logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        values = {key: np.asarray(v).tolist() for key, v in logs.items()}
        self._logs.append((epoch, values))
        super().on_epoch_end(epoch, logs)

    def on_train_end(self, logs: Any = None) -> None:
        # A training that was done already has begun no epoch.
        self._restore_history()
        # The next `fit` begins at its own first epoch.
        self.model._initial_epoch = None
        if not self._owns_folder:
            return
        if self.delete_checkpoint:
            # The metadata go first: without them, a kill from here on leaves
            # files that nobody takes for a backup.
            _remove(self._metadata_path)
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(self.backup_dir)
        folder_lock.free(self.backup_dir)

    def _save_model(self) -> None:
        if not self._owns_folder:
            # Variables that all processes have a part of are read by all.
            with tempfile.TemporaryDirectory() as folder:
                self.model.save_weights(os.path.join(folder, KERAS_WEIGHTS))
            return
        # Once more, since a cleaner may have removed the folder.
        os.makedirs(self.backup_dir, exist_ok=True)
        folder_lock.take(self.backup_dir)
        names = {backup["weights"] for backup in self._backups}
        free = (f"{i}.weights.h5" for i in range(3))
        name = next(name for name in free if name not in names)
        self.model.save_weights(self._path(name))
        backup = {
            "epoch": self._current_epoch,
            "batch": self._last_batch_seen,
            "weights": name,
            "history": list(self._logs),
        }
        kept = [backup, *self._backups][: 1 + self.double_checkpoint]
        content = {**backup, "previous": kept[1:]}
        files.write(self._metadata_path, json.dumps(content))
        self._backups = kept
        for name in names - {backup["weights"] for backup in kept}:
            _remove(self._path(name))

    def _path(self, name: str) -> str:
        return os.path.join(self.backup_dir, name)

    def _read(self) -> list[dict[str, Any]]:
        """Returns the backups that are there, the last one first."""
        try:
            with open(self._metadata_path, encoding="utf-8") as file:
                last = json.loads(file.read())
            previous = last.pop("previous", [])
            return [_checked(backup) for backup in (last, *previous)]
        except FileNotFoundError:
            return []
        except Exception as error:
            if isinstance(error, OSError):
                raise
            raise BrokenFileError(
                f"Expected {self._metadata_path} to be a whole file that "
                "`BackupAndRestore` has written. "
                f"Received: {files.received(error)}"
            ) from error


def _remove(path: str) -> None:
    """Removes a file, if no one has done so."""
    with contextlib.suppress(FileNotFoundError):
        os.remove(path)


def _checked(backup: dict[str, Any]) -> dict[str, Any]:
    """Returns the entries of a backup; raises an error if one is wrong."""
    name = backup.get("weights", KERAS_WEIGHTS)
    if os.path.basename(name) != name:
        raise ValueError(f"the name of a file in another folder, {name!r}")
    if int(backup["epoch"]) < 0:
        raise ValueError(f"the epoch {backup['epoch']}")
    return {
        "epoch": int(backup["epoch"]),
        "batch": int(backup["batch"]),
        "weights": name,
        "history": [
            (int(epoch), dict(logs))
            for epoch, logs in backup.get("history", [])
        ],
    }
