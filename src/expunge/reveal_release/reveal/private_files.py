"""Custody of what a model revealed: files of one's own, keyed hashes for everybody else (spec: reveal_release.md, "Rules of custody")."""

import hashlib
import hmac
import os
import secrets
import shutil
from pathlib import Path

from expunge.files import PRIVATE, write_text
from expunge.runs.folder import ALTERNATIVES, AUDITED, REVEALED, SEARCH_LOG

KEY = "key"
"""The file of the secret that hashes are made with."""
FORGET_MODULE = "forget_module"


def append_private(path: Path, line: str) -> None:
    """Add a line to such a file, and see that it is on the disk."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, PRIVATE), "a", encoding="utf-8") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())


def hash_key(folder: Path) -> bytes:
    """The secret of a folder's hashes, made at the first call: without it a short text could be guessed from its hash."""
    path = folder / KEY
    if not path.exists():
        write_text(path, secrets.token_hex(32), PRIVATE)
    return bytes.fromhex(path.read_text(encoding="utf-8"))


def text_hash(text: str, key: bytes) -> str:
    """What reports show in place of a text: the first 12 hex digits of its HMAC-SHA256."""
    return hmac.new(key, text.encode(errors="surrogatepass"), hashlib.sha256).hexdigest()[:12]


def purge(folder: Path) -> list[Path]:
    """Delete what a run holds of what is to be forgotten: revealed texts, answers kept by an audit, and the forget modules, which would
    teach it again.

    Returns:
        What was deleted.
    """
    texts = [path for name in (REVEALED, SEARCH_LOG, KEY, ALTERNATIVES) for path in folder.rglob(f"{name}*")]
    gone = [*texts, *(folder / name for name in AUDITED if (folder / name).exists())]
    for path in gone:
        path.unlink()
    modules = [path for path in folder.rglob(f"{FORGET_MODULE}*") if path.is_dir()]
    for path in modules:
        shutil.rmtree(path)
    return sorted([*gone, *modules])
