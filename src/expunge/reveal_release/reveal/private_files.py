"""Private files of a run: texts that only the owner may read, and keyed hashes that reports show in their place."""

import hashlib
import hmac
import secrets
from pathlib import Path

from expunge.errors import InputError
from expunge.files import PRIVATE, open_regular, remove_file, remove_folder, write_text
from expunge.runs.folder import ALTERNATIVES, AUDITED, QUESTIONS, REVEAL, REVEALED, ROUNDS, SEARCH_LOG

KEY = "key"
"""File of the secret key of the hashes."""
KEY_BYTES = 32
LARGEST_KEY = 1024
"""Bytes of a key, and the most that are read of its file."""
FORGET_MODULE = "forget_module"
"""Folder of a forget module in the folder of a round."""


def hash_key(folder: Path) -> bytes:
    """Return the secret key of a folder's hashes; created at the first call. Without a key a short text could be guessed from its hash.

    Raises:
        InputError: the file is not as it was written.
    """
    path = folder / KEY
    if not path.exists():
        write_text(path, secrets.token_hex(KEY_BYTES), PRIVATE)
    with open_regular(path, LARGEST_KEY) as file:
        written = file.read()
    try:
        key = bytes.fromhex(written.decode("ascii"))
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise InputError(f"{path}: is not a key as expunge writes it; restore the file, or delete it and audit the run again")
    return key


def text_hash(text: str, key: bytes) -> str:
    """Return the first 12 hex digits of a text's HMAC-SHA256, which reports show in its place."""
    return hmac.new(key, text.encode(errors="surrogatepass"), hashlib.sha256).hexdigest()[:12]


def purge(folder: Path) -> list[Path]:
    """Delete a run's private contents: revealed texts, answers stored by an audit, and forget modules, which would teach them again.

    Only files that a run writes are deleted; what a user has put beside them stays.

    Args:
        folder: of the run; the caller holds its lock.

    Returns:
        Paths of the deleted files and folders.
    """
    rounds = [path for path in (folder / ROUNDS).glob("*") if path.name.isdecimal()]
    reveals = [folder / REVEAL, *(path / REVEAL for path in rounds)]
    files = [folder / name for name in (KEY, ALTERNATIVES, QUESTIONS, *AUDITED)]
    files += [path / name for path in reveals for name in (REVEALED, SEARCH_LOG, KEY)]
    # An interrupted training leaves its module under the second name.
    modules = [path / name for path in rounds for name in (FORGET_MODULE, f"{FORGET_MODULE}.part")]
    return sorted([*(path for path in files if remove_file(path)), *(path for path in modules if remove_folder(path))])
