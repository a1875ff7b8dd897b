"""The result of one check of an attestation, and the checks of single files."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from expunge.attestation.hashes import file_hmac
from expunge.attestation.schema_parts import File, KeyedFile
from expunge.files import file_sha256

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


def file_check(name: str, file: File, path: Path) -> Check:
    """Return whether a file has the recorded SHA-256."""
    return _digest_check(name, file.sha256, path, file_sha256)


def hmac_check(name: str, file: KeyedFile, path: Path, key: bytes | None) -> Check:
    """Return whether a file has the recorded HMAC. It cannot be computed without the run's key."""
    if key is None:
        return unreachable(name, "the run's key is not there")
    return _digest_check(name, file.hmac, path, lambda existing: file_hmac(existing, key))


def _digest_check(name: str, recorded: str, path: Path, digest: Callable[[Path], str]) -> Check:
    # Reading something else than a regular file, such as a pipe, might never end.
    if not path.is_file():
        return unreachable(name, "not there")
    try:
        actual = digest(path)
    except OSError as error:
        return unreachable(name, f"cannot be read ({error.strerror})")
    return same(name, actual, recorded, "its content has changed")
