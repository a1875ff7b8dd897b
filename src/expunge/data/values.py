"""Values of a row: check that a text, a list of texts or an id is one, with the sentence for every fault."""

import math
from typing import NoReturn

from expunge.errors import InputError, quoted

MAX_LINE_BYTES = 8 * 2**20
MAX_ID_DIGITS = 100
"""Most digits of an integer: ids may be longer than 64 bits."""

Row = dict[str, object]


def text(where: str, column: str, value: object) -> str:
    """Return the value if it is a string that is not blank.

    Raises:
        InputError: it is not.
    """
    if value is None:
        fail(where, f"field {quoted(column)} is empty (null); give the text or remove the line")
    if isinstance(value, float) and not math.isfinite(value):
        fail(where, f"field {quoted(column)} is {'NaN' if math.isnan(value) else 'an infinite number'}, not text")
    if not isinstance(value, str):
        fail(where, f"field {quoted(column)} is {kind(value)}, not text")
    if not value.strip():
        fail(where, f"field {quoted(column)} is empty; give the text or remove the line")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        fail(where, f"field {quoted(column)} holds half a UTF-16 surrogate pair, which is no character")
    if size > MAX_LINE_BYTES:
        fail(where, f"field {quoted(column)} is longer than {MAX_LINE_BYTES} bytes")
    return value


def texts(where: str, column: str, value: object) -> tuple[str, ...]:
    """Return the value as a tuple if it is a list of strings that are not blank, or one such string.

    Raises:
        InputError: it is not.
    """
    if not isinstance(value, list):
        return (text(where, column, value),)
    return tuple(text(where, f"{column}[{i}]", item) for i, item in enumerate(value))


def identifier(where: str, column: str, value: object) -> str:
    """Return the value as a string if it is a string or an integer.

    Raises:
        InputError: it is not.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return text(where, column, value)


def kind(value: object) -> str:
    """Return the type of a value in words, for an error message."""
    if isinstance(value, bool):
        return "true or false"
    words: dict[type, str] = {type(None): "null", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return words.get(type(value), f"a {type(value).__name__}")


def fail(where: str, what: str) -> NoReturn:
    """Raise `InputError` for a value at a place."""
    raise InputError(f"{where}: {what}")
