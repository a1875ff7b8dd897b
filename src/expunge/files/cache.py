"""The user's cache folder, and files in it that carry an HMAC: only what expunge itself wrote there is believed."""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from expunge.errors import InputError
from expunge.files.folders import make_folder, remove_file
from expunge.files.regular import MAX_DOCUMENT_BYTES, open_regular
from expunge.files.write import PRIVATE, write_text

SECRET, SECRET_BYTES = "secret", 32
"""File in the cache folder for the key of the HMACs, and its length."""


def cache_dir() -> Path:
    """Return the folder for models, measurements and hashes of files: `$XDG_CACHE_HOME/expunge`, or `~/.cache/expunge`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "expunge"


def write_cached(path: Path, content: str) -> None:
    """Write a file in the cache that only the user may read, with its HMAC; what stands there is replaced."""
    _replace(path, f"{_hmac(content)}\n{content}")


def read_cached(path: Path) -> str | None:
    """Return what `write_cached` wrote; None if there is nothing, or if it is damaged or something else has written it."""
    whole = _content(path)
    code, _, content = whole.partition("\n")
    return content if whole and hmac.compare_digest(code.encode(), _hmac(content).encode()) else None


def _hmac(content: str) -> str:
    """Return the HMAC of a cached file under the secret of this cache, without which nobody can make a file that is believed."""
    path = cache_dir() / SECRET
    if len(_content(path)) != 2 * SECRET_BYTES:
        _replace(path, secrets.token_hex(SECRET_BYTES))
    return hmac.new(_content(path).encode(), content.encode(), hashlib.sha256).hexdigest()


def _content(path: Path) -> str:
    """Return the text of a file in the cache, or an empty one if there is none that can be read."""
    try:
        with open_regular(path, MAX_DOCUMENT_BYTES) as file:
            return file.read().decode()
    except (InputError, OSError, UnicodeDecodeError):
        return ""


def _replace(path: Path, text: str) -> None:
    """Write a file in the cache; a link or a pipe that stands there is deleted first."""
    make_folder(path.parent, follow=path.parent == cache_dir())
    remove_file(path)
    write_text(path, text, PRIVATE)
