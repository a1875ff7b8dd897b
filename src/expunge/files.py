"""Hash files, and write files and folders atomically: a reader sees the old content or the new one, never a part of it."""

import hashlib
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PRIVATE = 0o600
"""File mode for texts that nobody but the owner may read."""


def utc_now() -> str:
    """Return the current time in UTC as ISO 8601, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def file_sha256(path: Path) -> str:
    """Return the SHA-256 (hex) of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def atomic_file(path: Path, mode: int = 0o666) -> Iterator[Path]:
    """Yield an empty temporary file to write to; rename it to `path` at the end, or delete it if the body raises.

    Args:
        path: the file to create or replace.
        mode: its permissions, less the umask.
    """
    # The process id is in the name because two audits may write the same cached measurement at once.
    fresh = path.with_name(f"{path.name}.{os.getpid()}.part")
    fresh.unlink(missing_ok=True)
    os.close(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
    try:
        yield fresh
        fresh.rename(path)
    finally:
        fresh.unlink(missing_ok=True)


def write_text(path: Path, text: str, mode: int = 0o666) -> None:
    """Write a UTF-8 text file atomically; see `atomic_file`."""
    with atomic_file(path, mode) as fresh, fresh.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        # Without fsync a power cut after the rename could leave an empty file.
        os.fsync(file.fileno())


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as a Parquet file atomically. A column that a row lacks is null there."""
    # Only verbs that measure need pyarrow, which is slow to import.
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = dict.fromkeys(column for row in rows for column in row)
    with atomic_file(path) as fresh:
        pq.write_table(pa.table({column: [row.get(column) for row in rows] for column in columns}), fresh)


@contextmanager
def atomic_folder(folder: Path, resume: bool = False) -> Iterator[Path]:
    """Yield a temporary folder to fill; rename it to `folder` at the end, in place of an earlier one.

    Args:
        folder: the folder to create or replace.
        resume: whether to go on with the temporary folder that an interrupted call left; it is deleted otherwise.
    """
    fresh = folder.with_name(folder.name + ".part")
    if not resume:
        shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True, exist_ok=True)
    yield fresh
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


def folder_sha256(folder: Path) -> str:
    """Return the SHA-256 (hex) over the relative paths and the contents of all files in a folder."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()} {file_sha256(path)} ".encode())
    return digest.hexdigest()
