"""Write files atomically: a temporary file in the same folder, flushed to the disk, then renamed."""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from expunge.errors import ExpungeError, InputError, quoted
from expunge.files.faults import storage_errors
from expunge.files.leftovers import clean, leftovers_of
from expunge.files.locks import hold, is_held
from expunge.files.names import temporary
from expunge.files.regular import kind_of, open_regular

PRIVATE, PRIVATE_FOLDER = 0o600, 0o700
"""Modes of files and folders with texts that nobody but the owner may read."""
_WRITE = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextmanager
def atomic_file(path: Path, mode: int = 0o666, exclusive: bool = False) -> Iterator[Path]:
    """Yield an empty temporary file to write to; rename it to `path` at the end, or delete it if the body raises.

    Args:
        path: the file to create or replace.
        mode: its permissions, less the umask.
        exclusive: refuse to start while another process writes the same path in the same way.

    Raises:
        InputError: there is a link, a folder or a device at the path.
        ExpungeError: the disk is full or the folder cannot be written to; the file that was there stays.
    """
    # The process id is in the name because two audits may write the same cached measurement at once.
    fresh = temporary(path)
    with storage_errors(path):
        refuse_other_kinds(path)
        if exclusive:
            clear_leftovers(path)
        with suppress(FileNotFoundError):
            os.unlink(fresh)
        handle = os.open(fresh, _WRITE | os.O_CREAT | os.O_EXCL, mode)
    try:
        hold(handle)
        with storage_errors(path):
            yield fresh
            # A library may have replaced the file, so it is opened again.
            with _reopened(fresh, mode) as written:
                os.fsync(written)
            refuse_other_kinds(path)
            os.rename(fresh, path)
            sync_entry(path)
    finally:
        os.close(handle)
        with suppress(OSError):
            os.unlink(fresh)


def write_text(path: Path, text: str, mode: int = 0o666, exclusive: bool = False) -> None:
    """Write a UTF-8 text file atomically; see `atomic_file`."""
    write_bytes(path, text.encode(), mode, exclusive)


def write_bytes(path: Path, content: bytes, mode: int = 0o666, exclusive: bool = False) -> None:
    """Write a file atomically; see `atomic_file`."""
    with atomic_file(path, mode, exclusive) as fresh:
        handle = os.open(fresh, _WRITE)
        try:
            _write_all(handle, content)
        finally:
            os.close(handle)


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]], mode: int = 0o666) -> None:
    """Write rows as a Parquet file atomically. A column that a row lacks is null there."""
    # Only verbs that measure need pyarrow, which is slow to import.
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = dict.fromkeys(column for row in rows for column in row)
    with atomic_file(path, mode) as fresh:
        pq.write_table(pa.table({column: [row.get(column) for row in rows] for column in columns}), fresh)


def read_parquet(path: Path, columns: Collection[str]) -> list[dict[str, Any]]:
    """Read the rows of a Parquet file that `write_parquet` wrote.

    Args:
        path: the file.
        columns: those that it must have.

    Raises:
        InputError: it is not a Parquet file, is damaged, or lacks a column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with open_regular(path) as file:
        try:
            rows = pq.read_table(file).to_pylist()
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: not a Parquet file, or a damaged one; repeat the command that wrote it") from error
    for column in columns:
        if rows and column not in rows[0]:
            raise InputError(f"{path}: has no column {quoted(column)}; repeat the command that wrote it")
    return rows


def append_text(path: Path, text: str, mode: int = 0o666, durable: bool = True) -> None:
    """Append to a UTF-8 text file, or create it. If the disk is full, the file stays as it was.

    Args:
        path: the file.
        text: what to append.
        mode: permissions of a new file, less the umask.
        durable: flush it to the disk, so that the text survives a power cut.

    Raises:
        InputError: there is a link, a folder or a device at the path.
        ExpungeError: the text cannot be written.
    """
    content, new = text.encode(), not path.exists()
    with storage_errors(path):
        refuse_other_kinds(path)
        handle = os.open(path, _WRITE | os.O_APPEND | os.O_CREAT, mode)
        try:
            facts = os.fstat(handle)
            if kind_of(facts.st_mode) is not None:
                raise InputError(f"{path}: is not a regular file; remove it")
            if facts.st_nlink == 1:
                _append(handle, content, facts.st_size)
                if durable:
                    os.fsync(handle)
                    if new:
                        sync_entry(path)
                return
        finally:
            os.close(handle)
    # The file has a second name somewhere: its content there must not change.
    with open_regular(path) as file:
        before = file.read()
    write_bytes(path, before + content, facts.st_mode & 0o777)


def refuse_other_kinds(path: Path) -> None:
    """Raise `InputError` if there is something at a path that is no regular file."""
    try:
        kind = kind_of(os.lstat(path).st_mode)
    except FileNotFoundError:
        return
    if kind is not None:
        raise InputError(f"{path}: is {kind}, so no file is written there; name another file or remove it")


def clear_leftovers(path: Path) -> None:
    """Clean up what a killed process left of a file or folder.

    Raises:
        ExpungeError: another process is writing it.
    """
    leftovers = leftovers_of(path)
    if any(is_held(leftover) for leftover in leftovers):
        raise ExpungeError(f"{path}: another expunge process is writing it")
    clean(leftovers)


def sync_entry(path: Path) -> None:
    """Flush the folder that a path is in, so that its name survives a power cut."""
    sync_handle(os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))


def sync_handle(handle: int) -> None:
    """Flush an open file or folder, and close it."""
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _reopened(fresh: Path, mode: int) -> Iterator[int]:
    handle = os.open(fresh, _WRITE)
    try:
        facts = os.fstat(handle)
        if kind_of(facts.st_mode) is not None or facts.st_nlink != 1:
            raise InputError(f"{fresh}: was replaced while it was written; nothing is stored")
        # A library that replaced the file may have made it more public than it should be.
        if facts.st_mode & 0o777 & ~mode:
            os.fchmod(handle, facts.st_mode & mode)
        yield handle
    finally:
        os.close(handle)


def _append(handle: int, content: bytes, size: int) -> None:
    try:
        _write_all(handle, content)
    except OSError:
        os.ftruncate(handle, size)
        raise


def _write_all(handle: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(handle, left) :]
