"""Locks between processes. The system releases them when a process ends, however it ends."""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from expunge.errors import ExpungeError, InputError
from expunge.files.faults import storage_errors


@contextmanager
def lock_file(path: Path, busy: str, wait: bool = False) -> Iterator[None]:
    """Hold a lock on a file, which is created empty if it is missing and never written to.

    Args:
        path: the file.
        busy: the sentence for the second process.
        wait: wait for the other process instead.

    Raises:
        InputError: the path is a link or no regular file.
        ExpungeError: another process holds the lock, or there can be none.
    """
    with storage_errors(path, "locked"):
        # Without O_TRUNC: a hard link to a file elsewhere must not empty that file.
        handle = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise InputError(f"{path}: is not a regular file; remove it")
        try:
            with storage_errors(path, "locked"):
                fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except ExpungeError as error:
            if isinstance(error.__cause__, BlockingIOError):
                raise ExpungeError(busy) from error
            raise
        try:
            yield
        finally:
            # Closing would not release it while a child process has the file open too.
            fcntl.flock(handle, fcntl.LOCK_UN)
    finally:
        os.close(handle)


def hold(handle: int) -> None:
    """Lock an open file or folder that this process has just created, so that `is_held` tells others that it is in use."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        # Some network file systems have no locks. Others then see the file as in use, and leave it alone.
        return


def is_held(path: Path) -> bool:
    """Return whether a process holds a temporary file or folder; True where that cannot be found out."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False
