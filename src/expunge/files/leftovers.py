"""Clean up what a killed process left: its temporary files, and a folder that it had moved aside but not yet replaced."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from expunge.files.faults import storage_errors
from expunge.files.locks import is_held
from expunge.files.names import OLD, PART, split_temporary


def is_leftover(name: str) -> bool:
    """Return whether a name is one that only this package gives to files."""
    return split_temporary(name) is not None


def remove_leftovers(folder: Path, deep: bool = True) -> None:
    """Repair and clean a folder after a kill: put back what was moved aside and not replaced, delete unfinished files and folders.

    What a running process is writing stays.

    Args:
        folder: the folder.
        deep: whether to clean the folders in it too.
    """
    with storage_errors(folder, "cleaned up"):
        clean(find_leftovers(folder, deep))


def find_leftovers(folder: Path, deep: bool = True) -> list[Path]:
    """Return the leftovers in a folder; see `remove_leftovers`."""
    return [path for path in _entries(folder, deep) if is_leftover(path.name)]


def leftovers_of(path: Path) -> list[Path]:
    """Return the leftovers of one file or folder."""
    found = ((entry, split_temporary(entry.name)) for entry in _entries(path.parent, deep=False))
    return [entry for entry, parts in found if parts is not None and parts[0] == path.name]


def clean(leftovers: list[Path]) -> None:
    """Put back or delete leftovers, except those that a running process holds."""
    for path in sorted(leftovers, key=lambda path: split_temporary(path.name) != OLD):
        name, kind = split_temporary(path.name) or ("", PART)
        target = path.with_name(name)
        if kind == OLD and not os.path.lexists(target):
            os.rename(path, target)
        elif not is_held(path):
            delete(path)


def delete(path: Path) -> None:
    """Delete a file, a link itself, or a folder with all that is in it; links in it are not followed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        os.unlink(path)


def _entries(folder: Path, deep: bool) -> Iterator[Path]:
    """Yield what a folder holds; the content of a leftover goes with it."""
    if not folder.is_dir():
        return
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        yield Path(entry.path)
        if deep and entry.is_dir(follow_symlinks=False) and not is_leftover(entry.name):
            yield from _entries(Path(entry.path), deep)
