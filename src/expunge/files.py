"""Hash files and write them whole or not at all."""

import hashlib
import os
from pathlib import Path


def file_sha256(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


PRIVATE = 0o600


def write_atomically(path: Path, text: str, mode: int = 0o666) -> None:
    """Write a file under a temporary name, then rename it: a reader sees the old file or the new one, whole.

    Args:
        path: of the file.
        text: what it holds afterwards.
        mode: its permissions, less the umask; `PRIVATE` for what nobody else may read.
    """
    # A name of its own: two runs that are audited at once may write the same cached measurement.
    fresh = path.with_name(f"{path.name}.{os.getpid()}.part")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
        file.write(text)
    fresh.rename(path)
