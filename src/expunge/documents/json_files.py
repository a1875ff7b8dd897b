"""Read JSON within limits, and check it against schemas that know all their fields."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from expunge.documents.text_files import MAX_DEPTH, MAX_DIGITS, decode, find_fault, one_sentence, read_bytes, read_text
from expunge.errors import InputError, quoted
from expunge.files import MAX_DOCUMENT_BYTES

Schema = TypeVar("Schema")

# JSON in which a number may overflow or a text may hold half a surrogate pair. All other JSON needs no second look.
_SUSPICIOUS = re.compile(r"\\u[dD][89a-fA-F]|[eE]\+?\d{3}|\d{300}")


class Closed(BaseModel):
    """Base class of a schema that knows all its fields: an unknown one is an error, and so is a number that is not finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def read_json(path: str | Path, schema: type[Schema] | None = None, limit: int = MAX_DOCUMENT_BYTES) -> Any:
    """Read a JSON file.

    Args:
        path: the file.
        schema: a pydantic model, or a type such as `dict[str, float]`, that the content must fit; None: any JSON.
        limit: the most bytes of the file.

    Returns:
        An instance of the schema, or plain values without one.

    Raises:
        InputError: it cannot be read, goes beyond a limit, or does not fit the schema; the message names the field.
    """
    value = parse_json(read_text(path, limit), str(path))
    return value if schema is None else checked(value, schema, str(path))


def read_json_lines(path: str | Path, schema: type[Schema]) -> list[Schema]:
    """Read a file of one JSON value a line, without a last line that a kill cut short; errors are those of `read_json`."""
    # Split as bytes, because a kill may have cut a character, and at line feeds alone: JSON leaves other line ends unescaped.
    lines = read_bytes(path).split(b"\n")[:-1]
    named = [(f"{path}:{number}", line) for number, line in enumerate(lines, 1)]
    return [checked(parse_json(decode(line, where), where, "the line"), schema, where) for where, line in named]


def parse_json(text: str, where: str, what: str = "the file", max_digits: int = MAX_DIGITS) -> Any:
    """Return the value of a JSON text, in which every number is finite and no field appears twice.

    Args:
        text: the JSON.
        where: the beginning of an error's message: the file, and the line if there are several.
        what: what the text is, for errors.
        max_digits: the most digits of an integer.

    Raises:
        InputError: it is not such JSON, or is nested too deeply.
    """
    try:
        # A short text can hold no long integer, and a hook for integers takes time.
        integer = partial(_integer, max_digits) if len(text) > max_digits else None
        value = json.loads(text, object_pairs_hook=partial(_object, where), parse_int=integer)
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: {what} is not valid JSON ({error.msg} at character {error.pos + 1})") from error
    except RecursionError as error:
        raise InputError(f"{where}: {what} is nested too deeply") from error
    except ValueError as error:
        raise InputError(f"{where}: {what} holds a number with too many digits") from error
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise InputError(f"{where}: {what} is nested too deeply")
    if "NaN" in text or "Infinity" in text or _SUSPICIOUS.search(text):
        for field, part in _parts(value):
            if fault := find_fault(part):
                raise InputError(f"{where}: {f'field {quoted(field)}' if field else what} {fault}")
    return value


def checked(value: Any, schema: type[Schema], where: str) -> Schema:
    """Return a value as an instance of a pydantic model or a type; raise `InputError` with the field that does not fit."""
    try:
        return TypeAdapter(schema).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "all of it"
        raise InputError(f"{where}: {one_sentence(field)}: {first['msg'].removeprefix('Value error, ')}") from error


def _object(where: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        ((twice, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise InputError(f"{where}: field {quoted(twice)} appears twice")
    return fields


def _integer(max_digits: int, digits: str) -> int:
    if len(digits.removeprefix("-")) > max_digits:
        raise ValueError("too many digits")
    return int(digits)


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level := [part for one in level if isinstance(one, dict | list) for part in (one.values() if isinstance(one, dict) else one)]:
        depth += 1
    return depth + 1


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield (nearest field, value) of a value and of everything in it, texts that are names included."""
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting:
        field, part = waiting.pop()
        yield field, part
        if isinstance(part, dict):
            yield from ((field, name) for name in part)
            waiting.extend(part.items())
        elif isinstance(part, list):
            waiting.extend((field, item) for item in part)
