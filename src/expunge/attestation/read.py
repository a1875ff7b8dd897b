"""Read an attestation, and the files of the run that it names. Their content is not trusted: anybody may have written it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from expunge.attestation.canonical import ATTESTATION_ID, SIGNATURE, parse
from expunge.attestation.schema import Attestation
from expunge.documents import Closed
from expunge.errors import InputError
from expunge.files import MAX_DOCUMENT_BYTES, open_regular

Schema = TypeVar("Schema", bound=Closed)
Value = TypeVar("Value")


def read_raw(path: Path) -> tuple[bytes, dict[str, Any]]:
    """Return the bytes of an attestation and its parsed JSON, without checking the fields.

    Raises:
        InputError: if the file cannot be read or is not an attestation.
    """
    raw = _read_bytes(path)
    try:
        document = parse(raw)
    except ValueError as error:
        raise InputError(f"{path}: is not an attestation: not JSON in UTF-8") from error
    if not isinstance(document, dict) or ATTESTATION_ID not in document or SIGNATURE not in document:
        raise InputError(f"{path}: is not an attestation: it has no {ATTESTATION_ID} or no {SIGNATURE}")
    return raw, document


def parse_attestation(document: dict[str, Any], path: Path) -> Attestation:
    """Return the checked fields of an attestation.

    Raises:
        InputError: if a field is missing, unknown or of the wrong type.
    """
    return _parse(document, Attestation, f"{path}: is not an attestation of this version")


def read_audit_file(path: Path, schema: type[Schema]) -> Schema:
    """Return the checked fields of a JSON file that an audit wrote.

    Raises:
        InputError: if a field is missing, unknown or of the wrong type.
    """
    return _parse(read_untrusted(path, lambda: parse(_read_bytes(path))), schema, f"{path}: is not what an audit writes")


def read_untrusted(path: Path, read: Callable[[], Value]) -> Value:
    """Call a function that reads a file of the run, and report content of the wrong form as faulty input.

    Args:
        path: the file, for the error.
        read: reads it, and relies on the form that expunge itself writes.

    Raises:
        InputError: if the file has another form.
    """
    try:
        return read()
    except KeyError as error:
        raise InputError(f"{path}: is not what a run writes: a row has no field {error}") from error
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(f"{path}: is not what a run writes: {error}") from error


def _read_bytes(path: Path) -> bytes:
    with open_regular(path, MAX_DOCUMENT_BYTES) as file:
        return file.read()


def _parse(value: object, schema: type[Schema], problem: str) -> Schema:
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"])) or "all of it"
        raise InputError(f"{problem}: {name}: {first['msg']}") from error
