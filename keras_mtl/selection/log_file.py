"""The file of a `SelectionLog`: NumPy arrays in a zip, without pickle."""

import json
import os
from collections.abc import Sequence

import numpy as np

from keras_mtl.backend.files import reading
from keras_mtl.backend.files import write_bytes

FORMAT = "keras_mtl.SelectionLog 1"
EXPECTED = "a whole file that `SelectionLog.save` has written"


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
    with reading(path, EXPECTED), open(path, "rb") as file:
        with np.load(file, allow_pickle=False) as arrays:
            state = dict(arrays)
        written_as = str(state.pop("format"))
        tasks = json.loads(str(state.pop("tasks")))
        if written_as != FORMAT:
            raise ValueError(f"the format {written_as!r}")
    return tasks, state
