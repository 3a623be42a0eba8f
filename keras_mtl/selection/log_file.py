"""The file of a `SelectionLog`: NumPy arrays in a zip, without pickle."""

import json
import os
import zipfile
import zlib
from collections.abc import Sequence

import numpy as np

from keras_mtl.backend.files import received
from keras_mtl.backend.files import write_bytes

FORMAT = "keras_mtl.SelectionLog 1"


def write(
    path: str | os.PathLike, tasks: Sequence[str], state: dict[str, np.ndarray]
) -> None:
    """Writes the names of tasks and a dict of arrays, whole or not at all."""
    # The names are JSON, since NumPy cuts strings that end with a null.
    names = {"format": FORMAT, "tasks": json.dumps(tasks)}
    write_bytes(
        path,
        lambda file: np.savez_compressed(
            file, allow_pickle=False, **names, **state
        ),
    )


def read(path: str | os.PathLike) -> tuple[list[str], dict[str, np.ndarray]]:
    """Returns the names of tasks and the dict of arrays in a file."""
    with open(path, "rb") as file:
        try:
            with np.load(file, allow_pickle=False) as arrays:
                state = dict(arrays)
            written_as = str(state.pop("format"))
            tasks = json.loads(str(state.pop("tasks")))
        except (
            *(AttributeError, EOFError, KeyError, OSError),
            # A zip that is, or seems to be, encrypted is a `RuntimeError`.
            *(RuntimeError, TypeError, ValueError),
            *(zipfile.BadZipFile, zlib.error),
        ) as error:
            raise foreign(path, error) from error
    if written_as != FORMAT:
        raise foreign(path, f"the format {written_as!r}")
    return tasks, state


def foreign(path: str | os.PathLike, reason: Exception | str) -> ValueError:
    """Returns the error of a file that is none of a log, or not whole."""
    if isinstance(reason, Exception):
        reason = received(reason)
    return ValueError(
        f"Expected {os.fspath(path)} to be a whole file that "
        f"`SelectionLog.save` has written. Received: {reason}"
    )
