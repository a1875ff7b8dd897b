"""Read a record: its bytes, what they say, and its fields."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from expunge.audit.record.canonical import RECORD_ID, SIGNATURE, parse
from expunge.audit.record.schema import RunRecord
from expunge.errors import InputError


def read_raw(path: Path) -> tuple[bytes, dict[str, Any]]:
    """A record's bytes and what they say, unchecked but for being a record at all.

    Raises:
        InputError: the file is none.
    """
    try:
        raw = path.read_bytes()
        said = parse(raw)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"{path}: is no record: not JSON in UTF-8") from error
    if not isinstance(said, dict) or RECORD_ID not in said or SIGNATURE not in said:
        raise InputError(f"{path}: is no record: it has no {RECORD_ID} or no {SIGNATURE}")
    return raw, said


def fields_of(said: dict[str, Any], path: Path) -> RunRecord:
    """A record's fields.

    Raises:
        InputError: one is missing, unknown or of the wrong kind.
    """
    try:
        return RunRecord.model_validate(said)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise InputError(f"{path}: is no record of this version: {name}: {first['msg']}") from error
