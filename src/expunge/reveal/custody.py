"""Custody of what a model revealed: files of one's own, hashes for everybody else (spec: reveal_release.md, "Rules of custody")."""

import hashlib
import os
import shutil
from pathlib import Path

REVEALED, SEARCHED = "revealed.jsonl", "searched.jsonl"
"""Names of the files that hold texts: what was kept, and all that was asked and answered."""


def write_private(path: Path, text: str) -> None:
    """Write a file that nobody else may read, whole or not at all."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.part")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    fresh.rename(path)


def append_private(path: Path, line: str) -> None:
    """Add a line to such a file, and see that it is on the disk."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a", encoding="utf-8") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())


def text_hash(text: str) -> str:
    """What reports show in place of a text: the first 12 hex digits of its SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def purge(folder: Path) -> list[Path]:
    """Delete every file of a run that holds revealed texts, and the forget modules, which would teach them again.

    Returns:
        What was deleted.
    """
    texts = [path for name in (REVEALED, SEARCHED) for path in folder.rglob(name)]
    for path in texts:
        path.unlink()
    modules = [path for path in folder.rglob("forget_pem*") if path.is_dir()]
    for path in modules:
        shutil.rmtree(path)
    return sorted([*texts, *modules])
