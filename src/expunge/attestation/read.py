"""Read a record, its bytes, what they say and its fields, and the files of a run that it names: whoever made them chose what they say."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from expunge.attestation.canonical import ATTESTATION_ID, SIGNATURE, parse
from expunge.attestation.schema import Attestation
from expunge.attestation.schema_parts import Part
from expunge.errors import InputError

Form = TypeVar("Form", bound=Part)
Kind = TypeVar("Kind")


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
        raise InputError(f"{path}: is no attestation: not JSON in UTF-8") from error
    if not isinstance(said, dict) or ATTESTATION_ID not in said or SIGNATURE not in said:
        raise InputError(f"{path}: is no attestation: it has no {ATTESTATION_ID} or no {SIGNATURE}")
    return raw, said


def fields_of(said: dict[str, Any], path: Path) -> Attestation:
    """A record's fields.

    Raises:
        InputError: one is missing, unknown or of the wrong kind.
    """
    return _of_form(said, Attestation, f"{path}: is no attestation of this version")


def measured(path: Path, form: type[Form]) -> Form:
    """What a file of an audit says.

    Raises:
        InputError: a field is missing, unknown or of the wrong kind.
    """
    return _of_form(as_written(path, lambda: parse(path.read_bytes())), form, f"{path}: is not what an audit writes")


def as_written(path: Path, read: Callable[[], Kind]) -> Kind:
    """What reading one of a run's own files gives.

    Args:
        path: of the file, for the error.
        read: reads it as the run itself would, which does not expect that anybody else wrote it.

    Raises:
        InputError: it has another form than the run gives it.
    """
    try:
        return read()
    except KeyError as error:
        raise InputError(f"{path}: is not what a run writes: a row has no field {error}") from error
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(f"{path}: is not what a run writes: {error}") from error


def _of_form(said: object, form: type[Form], wrong: str) -> Form:
    try:
        return form.model_validate(said)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"])) or "all of it"
        raise InputError(f"{wrong}: {name}: {first['msg']}") from error
