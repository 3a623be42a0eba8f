"""Reads the files of GLUE, with tabs between their fields."""

import csv
import io
from pathlib import Path

from keras_mtl.backend.files import read_text
from keras_mtl.datasets.glue_tasks import Task


def find(folder: Path, name: str) -> Path:
    """Returns the path of a file in `glue_data`."""
    path = folder / name
    if not path.exists():
        raise FileNotFoundError(
            "Expected `data_dir` to be a folder `glue_data`, with the folder "
            f"{path.parent.name} and in it {path.name}. Received: "
            f"data_dir={str(folder)!r}"
        )
    return path


def read_rows(path: Path, task: Task) -> tuple[list[tuple[int, dict]], int]:
    """Returns the whole lines as `(number, dict)`, and how many there are."""
    # MRPC begins with a byte order mark.
    reader = csv.DictReader(
        io.StringIO(read_text(path, "utf-8-sig")),
        task.columns,
        delimiter="\t",
        quoting=csv.QUOTE_NONE,
    )
    try:
        _check_columns(reader.fieldnames, path, task)
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise ValueError(
            f"Expected {path} to have lines with tabs between their fields. "
            f"Received: line {reader.line_num + 1}, {error}"
        ) from error
    # The reader sets None where a line has too few fields, or too many.
    whole = [(i, x) for i, x in rows if None not in (*x, *x.values())]
    if not whole:
        raise ValueError(
            f"Expected {path} to have lines of {len(reader.fieldnames)} "
            f"fields. Received: {len(rows)} lines, none of which has as many"
        )
    return whole, len(rows)


def _check_columns(found, path, task):
    needed = {*task.sentences, task.label} - {None}
    if not needed <= {*(found or ())}:
        raise ValueError(
            f"Expected {path} to have the columns {sorted(needed)}, with tabs "
            f"between them. Received: {found}"
        )


def parse(label: str, task: Task, path: Path, line: int) -> float:
    """Returns the class, or the number, that a label says."""
    try:
        if task.classes:
            return task.classes.index(label)
        # NaN is not from 0 to 5 either.
        if 0 <= float(label) <= 5:
            return float(label)
    except ValueError:
        pass
    expected = "from 0 to 5"
    if task.classes:
        expected = f"out of {list(task.classes)}"
    raise ValueError(
        f"Expected labels {expected}. "
        f"Received: {label[:60]!r} in line {line} of {path}"
    )
