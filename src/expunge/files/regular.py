"""Open regular files only, without following links where a run's own files are read; hash them."""

import hashlib
import os
import stat
from io import BufferedReader
from pathlib import Path

from expunge.errors import InputError

MAX_DOCUMENT_BYTES = 2**26
"""The largest JSON document that is read."""
PSEUDO = ("/proc/", "/sys/")
"""Folders whose files look regular and may have no end."""
KINDS = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def kind_of(mode: int) -> str | None:
    """Return what is at a path, such as "a device", given its mode; None for a regular file."""
    return next((name for test, name in KINDS if test(mode)), None)


def open_regular(path: Path, limit: int | None = None, follow: bool = False) -> BufferedReader:
    """Open a regular file for reading. It never waits, as opening a pipe would.

    Args:
        path: the file.
        limit: the most bytes that it may have; None: any number.
        follow: whether the path may be a symbolic link to a regular file; for files of the user, not for those of a run.

    Raises:
        InputError: it cannot be opened, is no regular file, or is larger than the limit.
    """
    try:
        # Opening some devices changes them, so their kind is read before.
        before = os.stat(path, follow_symlinks=follow)
        _check_regular(path, before)
        if os.path.realpath(path).startswith(PSEUDO):
            raise InputError(f"{path}: is not a regular file but one of the system's")
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({_reason(error)})") from error
    try:
        facts = os.fstat(handle)
        _check_regular(path, facts)
        if limit is not None and facts.st_size > limit:
            raise InputError(f"{path}: has {facts.st_size} bytes; at most {limit} are read")
    except BaseException:
        os.close(handle)
        raise
    return os.fdopen(handle, "rb")


def refuse_links(folder: Path) -> None:
    """Refuse a run folder that is or holds a symbolic link, a pipe, a socket or a device: what is written there could go elsewhere.

    Raises:
        InputError: names the first of them.
    """
    try:
        _refuse_links(folder)
    except OSError as error:
        raise InputError(f"{error.filename or folder}: cannot be read ({_reason(error)})") from error


def file_sha256(path: Path) -> str:
    """Return the SHA-256 (hex) of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_sha256(folder: Path) -> str:
    """Return the SHA-256 (hex) over the relative paths and the contents of all files in a folder."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()} {file_sha256(path)} ".encode())
    return digest.hexdigest()


def _refuse_links(folder: Path) -> None:
    if folder.is_symlink():
        raise InputError(f"{folder}: is a symbolic link; name the folder itself")
    pending = [folder] if folder.is_dir() else []
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.is_dir(follow_symlinks=False):
                    pending.append(Path(entry.path))
                elif not entry.is_file(follow_symlinks=False):
                    kind = kind_of(entry.stat(follow_symlinks=False).st_mode)
                    raise InputError(f"{entry.path}: is {kind}; a run folder holds only files and folders, so remove it")


def _check_regular(path: Path, facts: os.stat_result) -> None:
    if (kind := kind_of(facts.st_mode)) is not None:
        raise InputError(f"{path}: is not a regular file but {kind}")


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)).lower() if isinstance(error, OSError) else str(error)
