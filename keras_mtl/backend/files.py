"""JSON without NaN, and files that are written whole or not at all."""

import contextlib
import json
import math
import os
import pathlib
import re
import socket
import time

from keras_mtl.backend.keras_internals import is_remote_path

# Names of files that are being written. Earlier versions did not name the host.
_TEMPORARY = re.compile(r"\.(?P<pid>\d+)(\.(?P<host>[A-Za-z0-9-]*))?\.tmp\.")
# Those that this process is writing.
_in_use: set[str] = set()


class BrokenFileError(OSError, ValueError):
    """The error of a file that is not whole, or not of the expected kind.

    It is an `OSError` for Keras, which then tries an earlier checkpoint.
    """


def to_json(value, indent=None):
    return json.dumps(_nan_to_null(value), indent=indent)


def _nan_to_null(value):
    if isinstance(value, dict):
        return {str(key): _nan_to_null(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_nan_to_null(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


@contextlib.contextmanager
def reading(path, expected):
    """Lets a `ValueError` name the file, whatever a reader of it raises.

    NumPy and the standard library raise all kinds of errors where bytes are not
    as they were, and a `MemoryError` where they declare a huge array. What
    the system says of a file, such as that it is not there, stays as it is.

    Args:
        path: Path of the file.
        expected: What the file should be.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        raise ValueError(
            f"Expected {os.fspath(path)} to be {expected}. "
            f"Received: {received(error)}"
        ) from error


def read_text(path, encoding="utf-8"):
    """Returns a text, in which every line ends with a line feed."""
    try:
        return pathlib.Path(path).read_text(encoding)
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"Expected {os.fspath(path)} to be a text in {encoding}. "
            f"Received: line {line}, {received(error)}"
        ) from error


def write(path, text):
    """Writes a text file whole or not at all."""
    write_bytes(path, lambda file: file.write(text.encode("utf-8")))


def write_bytes(path, writer):
    """Writes a binary file whole or not at all.

    Args:
        path: Path of the file, which is replaced if it exists.
        writer: Function that takes a file open for writing bytes.
    """
    with replacing(path) as temporary, open(temporary, "wb") as file:
        writer(file)


@contextlib.contextmanager
def replacing(path):
    """Gives a path to write to; that file then replaces the one at `path`.

    Whoever is killed meanwhile leaves the file at `path` as it was.

    Args:
        path: Path of a file. Its temporary neighbor has the same ending.
    """
    # A link goes on pointing to the file.
    folder, name = os.path.split(os.path.realpath(path))
    own = f".{os.getpid()}.{_host()}.tmp.{name}"
    temporary = os.path.join(folder, own)
    _in_use.add(own)
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, os.path.join(folder, name))
        if os.name == "posix":
            _sync(folder)
        with contextlib.suppress(OSError):
            _remove_left(folder)
    finally:
        _in_use.discard(own)
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)


def _host():
    return re.sub("[^A-Za-z0-9-]", "-", socket.gethostname())


def _remove_left(folder):
    """Removes temporary files of processes that were killed.

    Processes of other machines may write to the same folder: whether they are
    alive is not known here, but what they write is new.
    """
    an_hour_ago = time.time() - 3600
    for name in os.listdir(folder):
        match = _TEMPORARY.match(name)
        if not match or name in _in_use or _is_alive(int(match["pid"])):
            continue
        path = os.path.join(folder, name)
        with contextlib.suppress(OSError):
            is_own = match["host"] == _host()
            if is_own or os.path.getmtime(path) < an_hour_ago:
                os.remove(path)


def _is_alive(pid):
    """Whether there is another process with this number on this machine."""
    if os.name != "posix":
        # To ask is to end it on Windows.
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    # Processes of containers often have the number of the one before.
    return pid != os.getpid()


def _sync(path):
    """Waits until the disk has it, which else may come after a replacement."""
    descriptor = os.open(path, os.O_RDWR if os.path.isfile(path) else 0)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_local(path, suffix):
    """Whether `path` is that of a file on this machine with this ending."""
    if not isinstance(path, (str, os.PathLike)):
        return False
    path = os.fspath(path)
    return path.endswith(suffix) and not is_remote_path(path)


def received(error):
    """Describes an exception in the error of a broken file."""
    return f"{type(error).__name__}: {error}"
