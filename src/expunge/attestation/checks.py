"""One check of a record, and what comes of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from expunge.attestation.hmac_hashes import file_hmac
from expunge.attestation.schema import KeyedFile
from expunge.attestation.schema_parts import File
from expunge.files import file_sha256

Status = Literal["ok", "differs", "not reachable"]


@dataclass(frozen=True)
class Check:
    """What was checked and what came of it.

    Attributes:
        name: of the file or the part of the record.
        status: whether it is as recorded; what lies elsewhere, or cannot be checked without the run's key, is not reachable.
        detail: what differs, or why it cannot be reached.
    """

    name: str
    status: Status
    detail: str = ""


def ok(name: str, detail: str = "") -> Check:
    """It is as recorded."""
    return Check(name, "ok", detail)


def differs(name: str, detail: str) -> Check:
    """It is not as recorded."""
    return Check(name, "differs", detail)


def unreachable(name: str, detail: str) -> Check:
    """It cannot be said whether it is."""
    return Check(name, "not reachable", detail)


def same(name: str, found: object, recorded: object, detail: str) -> Check:
    """Whether something found is what is recorded; `detail` says what it means if it is not."""
    return ok(name) if found == recorded else differs(name, detail)


def file_check(name: str, file: File, path: Path) -> Check:
    """Whether a file has its SHA-256."""
    return _of_file(name, file.sha256, path, file_sha256)


def keyed_check(name: str, file: KeyedFile, path: Path, key: bytes | None) -> Check:
    """Whether a file has its HMAC; none can be made without the key."""
    if key is None:
        return unreachable(name, "the run's key is not there")
    return _of_file(name, file.hmac, path, lambda there: file_hmac(there, key))


def _of_file(name: str, recorded: str, path: Path, digest: Callable[[Path], str]) -> Check:
    # What is no regular file, a pipe say, might never end.
    if not path.is_file():
        return unreachable(name, "not there")
    try:
        found = digest(path)
    except OSError as error:
        return unreachable(name, f"cannot be read ({error.strerror})")
    return same(name, found, recorded, "its content has changed")
