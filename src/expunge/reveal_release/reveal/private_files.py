"""Private files of a run: texts that only the owner may read, and keyed hashes that reports show in their place."""

import hashlib
import hmac
import os
import secrets
import shutil
from pathlib import Path

from expunge.files import PRIVATE, write_text
from expunge.runs.folder import ALTERNATIVES, AUDITED, REVEALED, SEARCH_LOG

KEY = "key"
"""File of the secret key of the hashes."""
FORGET_MODULE = "forget_module"
"""Folder of a forget module in the folder of a round."""


def append_private(path: Path, line: str) -> None:
    """Append a line to a file that only the owner may read, and flush it to the disk."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, PRIVATE), "a", encoding="utf-8") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())


def hash_key(folder: Path) -> bytes:
    """Return the secret key of a folder's hashes; created at the first call. Without a key a short text could be guessed from its hash."""
    path = folder / KEY
    if not path.exists():
        write_text(path, secrets.token_hex(32), PRIVATE)
    return bytes.fromhex(path.read_text(encoding="utf-8"))


def text_hash(text: str, key: bytes) -> str:
    """Return the first 12 hex digits of a text's HMAC-SHA256, which reports show in its place."""
    return hmac.new(key, text.encode(errors="surrogatepass"), hashlib.sha256).hexdigest()[:12]


def purge(folder: Path) -> list[Path]:
    """Delete a run's private contents: revealed texts, answers stored by an audit, and forget modules, which would teach them again.

    Returns:
        Paths of the deleted files and folders.
    """
    texts = [path for name in (REVEALED, SEARCH_LOG, KEY, ALTERNATIVES) for path in folder.rglob(f"{name}*")]
    files = [*texts, *(folder / name for name in AUDITED if (folder / name).exists())]
    for path in files:
        path.unlink()
    modules = [path for path in folder.rglob(f"{FORGET_MODULE}*") if path.is_dir()]
    for path in modules:
        shutil.rmtree(path)
    return sorted([*files, *modules])
