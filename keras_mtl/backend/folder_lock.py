"""A folder that belongs to one process as long as that lives."""

import contextlib
import os
import pathlib
import socket

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOCK = ".lock"

# The open files of this process's locks. The system frees a lock once such a
# file is closed, and no other process inherits it.
_held: dict[tuple[int, str], int] = {}


def take(folder):
    """Makes a folder that of this process, until `free` or its end.

    The file `.lock` in it says which process that is. The system holds the
    lock, so that a process that was killed has none. There is no lock on
    Windows, and in a file system that has no locks.

    Args:
        folder: Path of the folder, which is made if it is not there.

    Raises:
        ValueError: If it is that of another process, which is named.
    """
    if fcntl is None:
        return
    key = os.getpid(), os.path.realpath(folder)
    path = os.path.join(key[1], LOCK)
    # Whoever had the lock may remove the file while this process opens it.
    for _ in range(10):
        if key in _held and _is_open(path, _held[key]):
            return
        _close(key)
        os.makedirs(folder, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        _held[key] = descriptor
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            _close(key)
            raise ValueError(_in_use(folder, path)) from None
        except OSError:
            # This file system has no locks.
            return
        os.ftruncate(descriptor, 0)
        os.write(descriptor, _this_process().encode())


def free(folder):
    """Gives a folder back that `take` has made that of this process."""
    key = os.getpid(), os.path.realpath(folder)
    if key in _held:
        with contextlib.suppress(FileNotFoundError):
            if _is_open(os.path.join(key[1], LOCK), _held[key]):
                os.remove(os.path.join(key[1], LOCK))
        _close(key)


def _is_open(path, descriptor):
    """Whether the open file is the one at the path."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    return False


def _close(key):
    if key in _held:
        os.close(_held.pop(key))


def _this_process():
    return f"process {os.getpid()} on {socket.gethostname()}"


def _in_use(folder, path):
    holder = "another process"
    with contextlib.suppress(OSError):
        holder = pathlib.Path(path).read_text(errors="replace") or holder
    return (
        f"Expected a folder that no other training uses. Received: {folder}, "
        f"in use by {holder}. End that, or take another folder."
    )
