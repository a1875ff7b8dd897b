"""Create, replace and delete folders: the new one is complete and on the disk before the old one goes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from expunge.errors import InputError
from expunge.files.faults import storage_errors
from expunge.files.leftovers import delete
from expunge.files.locks import hold
from expunge.files.names import OLD, temporary
from expunge.files.regular import kind_of
from expunge.files.write import clear_leftovers, sync_entry, sync_handle

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def atomic_folder(folder: Path, resume: bool = False, mode: int = 0o777, replace: bool = True) -> Iterator[Path]:
    """Yield a temporary folder to fill; put it in the place of `folder` at the end, or delete it if the body raises.

    An earlier folder is moved aside, and deleted once the new one is in its place. A kill between the two moves is repaired by
    `remove_leftovers`, or by the next call for the same folder.

    Args:
        folder: the folder to create or replace. Folders above it are created.
        resume: use `folder.part`, go on with the one that an interrupted call left, and leave it if the body raises.
        mode: permissions of the folder, less the umask.
        replace: whether an earlier folder is replaced; otherwise it is an error.

    Raises:
        InputError: there is a link or a file at the path, or a folder that must not be replaced.
        ExpungeError: another process is writing the folder, or the disk is full; the folder that was there stays.
    """
    with storage_errors(folder):
        _check_place(folder, replace)
        _make_parents(folder)
        clear_leftovers(folder)
        fresh = folder.with_name(folder.name + ".part") if resume else temporary(folder)
        with suppress(FileExistsError):
            os.mkdir(fresh, mode)
        handle = os.open(fresh, _FOLDER)
    try:
        hold(handle)
        with storage_errors(folder):
            yield fresh
            sync_folder(fresh)
            _check_place(folder, replace)
            _swap(fresh, folder)
    except BaseException:
        if not resume:
            with suppress(OSError):
                delete(fresh)
        raise
    finally:
        os.close(handle)


def make_folder(folder: Path, mode: int = 0o777, follow: bool = False) -> None:
    """Create a folder and those above it, if they are missing.

    Args:
        folder: the folder.
        mode: its permissions, less the umask.
        follow: whether it may be a symbolic link to a folder; for folders that the user names, not for those in a run folder.

    Raises:
        InputError: there is a link or a file at the path.
        ExpungeError: it cannot be created.
    """
    with storage_errors(folder, "made a folder"):
        if follow and folder.is_dir():
            return
        if os.path.lexists(folder):
            _check_place(folder)
            return
        _make_parents(folder)
        with suppress(FileExistsError):
            os.mkdir(folder, mode)
        sync_entry(folder)
        _check_place(folder)


def sync_folder(folder: Path) -> None:
    """Flush all files and folders in a folder to the disk, and the folder itself last."""
    with storage_errors(folder), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                sync_folder(Path(entry.path))
            elif entry.is_file(follow_symlinks=False):
                sync_handle(os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC))
        sync_handle(os.open(folder, _FOLDER))


def remove_file(path: Path) -> bool:
    """Delete a file, or a link itself, and return whether there was one.

    Raises:
        InputError: it is a folder.
        ExpungeError: it cannot be deleted.
    """
    with storage_errors(path, "deleted"):
        if not os.path.lexists(path):
            return False
        if path.is_dir() and not path.is_symlink():
            raise InputError(f"{path}: is a folder where a file belongs; remove it")
        os.unlink(path)
        sync_entry(path)
    return True


def remove_folder(folder: Path) -> bool:
    """Delete a folder at once with all that is in it, without following links, and return whether there was one.

    Raises:
        InputError: it is a link or a file.
        ExpungeError: it cannot be deleted.
    """
    with storage_errors(folder, "deleted"):
        if not os.path.lexists(folder):
            return False
        _check_place(folder)
        # A kill while the content is deleted must not leave a part of it under the final name.
        gone = temporary(folder)
        os.rename(folder, gone)
        sync_entry(folder)
        delete(gone)
    return True


def _make_parents(folder: Path) -> None:
    missing = [parent for parent in folder.parents if not parent.exists()]
    os.makedirs(folder.parent, exist_ok=True)
    for parent in missing:
        sync_entry(parent)


def _check_place(folder: Path, replace: bool = True) -> None:
    try:
        facts = os.lstat(folder)
    except FileNotFoundError:
        return
    kind = kind_of(facts.st_mode) or "a file"
    if kind != "a folder":
        raise InputError(f"{folder}: is {kind} where a folder belongs; remove it or name another folder")
    if not replace:
        raise InputError(f"{folder}: is there already; name another folder")


def _swap(fresh: Path, folder: Path) -> None:
    old = None
    if os.path.lexists(folder):
        old = temporary(folder, OLD)
        os.rename(folder, old)
    try:
        os.rename(fresh, folder)
    except OSError:
        if old is not None:
            os.rename(old, folder)
        raise
    sync_entry(folder)
    if old is not None:
        delete(old)
