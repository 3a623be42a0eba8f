"""Files of events, which TensorBoard reads."""

import os
import pathlib
import socket
import time
from typing import Any


class EventFile:
    """A file of scalars that TensorBoard shows as one run.

    It is written by the package `tensorboard`. Its `EventFileWriter` would
    import TensorFlow wherever that is installed, and start a thread.

    Args:
        folder: Path of the folder of the run.
    """

    def __init__(self, folder: Any) -> None:
        writer = import_tensorboard()
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        # As TensorBoard names them, and it knows them by that.
        name = f"{time.time_ns()}.{socket.gethostname()}.{os.getpid()}"
        self._file = (folder / f"events.out.tfevents.{name}").open("wb")
        self._records = writer.RecordWriter(self._file)
        self._write(file_version="brain.Event:2")

    def write(self, step: int, scalars: dict[str, float]) -> None:
        """Writes scalars, by name, and sees to it that they are in the file."""
        values = [
            {"tag": name, "simple_value": float(value)}
            for name, value in scalars.items()
        ]
        self._write(step=step, summary={"value": values})
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _write(self, summary=None, **fields):
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        if summary is not None:
            values = [Summary.Value(**value) for value in summary["value"]]
            fields["summary"] = Summary(value=values)
        event = Event(wall_time=time.time(), **fields)
        self._records.write(event.SerializeToString())


def import_tensorboard() -> Any:
    """Returns TensorBoard's module of record writers.

    Raises:
        ImportError: If TensorBoard is not installed.
    """
    try:
        from tensorboard.summary.writer import record_writer
    except ImportError as error:
        raise ImportError(
            "Expected the package tensorboard, which writes the files of "
            "events. Received: an environment without it. Type `pip install "
            "tensorboard`."
        ) from error
    return record_writer
