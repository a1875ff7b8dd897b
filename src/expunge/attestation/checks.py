"""The result of one check of an attestation, and the checks of single files."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Literal

from expunge.attestation.hashes import bytes_hmac
from expunge.attestation.schema_parts import File, KeyedFile
from expunge.errors import InputError
from expunge.files import open_regular

Status = Literal["ok", "differs", "not reachable"]


@dataclass(frozen=True)
class Check:
    """A check and its result.

    Attributes:
        name: the file or the part of the attestation that was checked.
        status: ok: as recorded; differs: not as recorded; not reachable: the file or the run's key is not on this machine.
        detail: what differs, or why it could not be checked.
    """

    name: str
    status: Status
    detail: str = ""


def ok(name: str, detail: str = "") -> Check:
    """Return a check that passed."""
    return Check(name, "ok", detail)


def differs(name: str, detail: str) -> Check:
    """Return a check that failed."""
    return Check(name, "differs", detail)


def unreachable(name: str, detail: str) -> Check:
    """Return a check that could not be made."""
    return Check(name, "not reachable", detail)


def same(name: str, actual: object, recorded: object, detail: str) -> Check:
    """Return whether a value is the recorded one; `detail` explains a difference."""
    return ok(name) if actual == recorded else differs(name, detail)


def file_check(name: str, file: File, path: Path | None) -> Check:
    """Return whether a file has the recorded SHA-256; without a path its name leads out of the folder that it belongs to."""
    return _digest_check(name, file.sha256, path, lambda opened: hashlib.file_digest(opened, "sha256").hexdigest())


def hmac_check(name: str, file: KeyedFile, path: Path | None, key: bytes | None) -> Check:
    """Return whether a file has the recorded HMAC, see `file_check`. It cannot be computed without the run's key."""
    if key is None:
        return unreachable(name, "the run's key is not there")
    return _digest_check(name, file.hmac, path, lambda opened: bytes_hmac(opened, key))


def _digest_check(name: str, recorded: str, path: Path | None, digest: Callable[[BufferedReader], str]) -> Check:
    if path is None:
        return differs(name, "its name leads out of the folder")
    try:
        if not path.exists():
            return unreachable(name, "not there")
        with open_regular(path, follow=True) as file:
            actual = digest(file)
    except InputError:
        # Reading something else than a regular file, such as a pipe, might never end.
        return unreachable(name, "cannot be read") if path.is_file() else differs(name, "it is not a regular file")
    except OSError as error:
        return unreachable(name, f"cannot be read ({error.strerror})")
    return same(name, actual, recorded, "its content has changed")
