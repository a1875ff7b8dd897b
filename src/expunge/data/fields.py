"""Fields of a record: find the column of each field and the shape of a row, and check every value."""

import difflib
import math
import shlex
from typing import NoReturn

from expunge.errors import InputError, quoted

MAX_LINE_BYTES = 8 * 2**20
ROLES = ("system", "user", "assistant")
SHAPES = (("prompt", "answer"), ("messages",), ("text",))
OPTIONAL = ("id", "paraphrased_prompt", "paraphrased_answer", "wrong_answers", "alternatives", "entity")
FIELDS = (*(field for shape in SHAPES for field in shape), *OPTIONAL)
LIST_FIELDS = ("messages", "wrong_answers", "alternatives")
# Column names of TOFU (Maini et al., 2024, arXiv 2401.06121), accepted without --map.
ALIASES = {"prompt": "question", "paraphrased_prompt": "paraphrased_question", "wrong_answers": "perturbed_answer"}
# Names of these fields in other data sets, used only to suggest a --map.
LOOKALIKES = {
    "prompt": ("instruction", "query", "problem", "input", "user", "human"),
    "answer": ("completion", "response", "output", "target", "solution", "reply", "label", "assistant"),
    "messages": ("conversation", "dialogue", "dialog", "chat"),
    "text": ("content", "document", "passage", "body"),
}

Row = dict[str, object]


def check_map(source: str, field_map: dict[str, str]) -> None:
    """Check a map of field -> column; an empty column means that an optional field is not read.

    Raises:
        InputError: records have no such field, or a required field is mapped to nothing.
    """
    for field, column in field_map.items():
        if field not in FIELDS:
            raise InputError(f"{source}: --map {_pair(field, column)}: no field {quoted(field)}; the fields are {', '.join(FIELDS)}")
        if not column and field not in OPTIONAL:
            raise InputError(f"{source}: --map {field}= names no column; only an optional field can be ignored: {', '.join(OPTIONAL)}")


def list_columns(field_map: dict[str, str]) -> set[str]:
    """Return the columns whose CSV cells may hold a JSON list."""
    return {column for field in LIST_FIELDS for column in _candidates(field, field_map)}


def find_columns(where: str, row: Row, field_map: dict[str, str]) -> dict[str, str]:
    """Return field -> column for the fields of this row. A mapped column is read for its mapped field only.

    Raises:
        InputError: there are two columns for one field (`prompt` and `question`).
    """
    columns = {}
    for field in FIELDS:
        present = [column for column in _candidates(field, field_map) if column in row]
        if len(present) > 1:
            first, second = map(quoted, present)
            _fail(where, f"fields {first} and {second} mean the same; say which with --map {_pair(field, present[0])}")
        if present:
            columns[field] = present[0]
    return columns


def find_shape(where: str, row: Row, columns: dict[str, str], field_map: dict[str, str]) -> tuple[str, ...]:
    """Return the shape of the row: `("prompt", "answer")`, `("messages",)` or `("text",)`.

    A map that names a field of a shape chooses that shape.

    Raises:
        InputError: the row has fields of two shapes, or a field of its shape is missing.
    """
    possible = [shape for shape in SHAPES if any(field in field_map for field in shape)] or list(SHAPES)
    present = [shape for shape in possible if any(field in columns for field in shape)]
    if len(present) > 1:
        first, second = (next(field for field in shape if field in columns) for shape in present[:2])
        both = f"{quoted(columns[first])} and {quoted(columns[second])}"
        _fail(where, f"fields {both} are two shapes of record; say which with --map {_pair(second, columns[second])}")
    shape = (present or possible)[0]
    missing = [field for field in shape if field not in columns]
    if not missing:
        return shape
    mapped = [field for field in missing if field in field_map]
    if mapped:
        _fail(where, f"field {quoted(field_map[mapped[0]])} is missing (--map {_pair(mapped[0], field_map[mapped[0]])})")
    candidates = missing if present or len(possible) == 1 else [field for shape in possible for field in shape]
    spare = [column for column in row if column not in columns.values()]
    maps = [f"--map {_pair(field, column)}" for field in candidates if (column := _lookalike(field, spare))]
    others = ' (or "messages", or "text")' if len(candidates) > len(missing) else ""
    hint = f"perhaps {' '.join(maps)}" if maps else f"name its column with --map {missing[0]}=COLUMN"
    _fail(where, f"field {quoted(missing[0])} is missing{others}; {hint}")


def text(where: str, column: str, value: object) -> str:
    """Return the value if it is a string that is not blank.

    Raises:
        InputError: it is not.
    """
    if value is None:
        _fail(where, f"field {quoted(column)} is empty (null); give the text or remove the line")
    if isinstance(value, float) and not math.isfinite(value):
        _fail(where, f"field {quoted(column)} is {'NaN' if math.isnan(value) else 'an infinite number'}, not text")
    if not isinstance(value, str):
        _fail(where, f"field {quoted(column)} is {kind(value)}, not text")
    if not value.strip():
        _fail(where, f"field {quoted(column)} is empty; give the text or remove the line")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        _fail(where, f"field {quoted(column)} holds half a UTF-16 surrogate pair, which is no character")
    if size > MAX_LINE_BYTES:
        _fail(where, f"field {quoted(column)} is longer than {MAX_LINE_BYTES} bytes")
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


def messages(where: str, column: str, value: object) -> list[tuple[str, str]]:
    """Return (role, content) of each message if the value is a valid conversation.

    Raises:
        InputError: a system message is not the first, or the last two messages are not the user's and the assistant's.
    """
    if not isinstance(value, list):
        _fail(where, f"field {quoted(column)} is {kind(value)}, not a list of messages")
    turns = [_message(where, f"{column}[{i}]", message) for i, message in enumerate(value)]
    roles = [role for role, _ in turns]
    if "system" in roles[1:]:
        late = f"{column}[{roles.index('system', 1)}]"
        _fail(where, f"field {quoted(late)} is a system message; only the first may be one")
    if roles[-2:] != ["user", "assistant"]:
        _fail(where, f"field {quoted(column)} must end with a user message and the assistant's answer to it")
    return turns


def kind(value: object) -> str:
    """Return the type of a value in words, for an error message."""
    if isinstance(value, bool):
        return "true or false"
    words: dict[type, str] = {type(None): "null", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return words.get(type(value), f"a {type(value).__name__}")


def _message(where: str, column: str, message: object) -> tuple[str, str]:
    if not isinstance(message, dict):
        _fail(where, f"field {quoted(column)} is {kind(message)}, not an object with role and content")
    for key in ("role", "content"):
        if key not in message:
            _fail(where, f"field {quoted(f'{column}.{key}')} is missing")
    role = text(where, f"{column}.role", message["role"])
    if role not in ROLES:
        _fail(where, f"field {quoted(f'{column}.role')} is none of {', '.join(ROLES)}")
    return role, text(where, f"{column}.content", message["content"])


def _candidates(field: str, field_map: dict[str, str]) -> list[str]:
    if field in field_map:
        return [field_map[field]] if field_map[field] else []
    names = [field, ALIASES[field]] if field in ALIASES else [field]
    return [column for column in names if column not in field_map.values()]


def _lookalike(field: str, columns: list[str]) -> str | None:
    lower = {column.lower(): column for column in columns}
    named = [lower[name] for name in LOOKALIKES[field] if name in lower]
    close = difflib.get_close_matches(field, lower, n=1, cutoff=0.75)
    return next(iter([*(lower[name] for name in close), *named]), None)


def _pair(field: str, column: str) -> str:
    return shlex.quote(f"{field}={column}")


def _fail(where: str, what: str) -> NoReturn:
    raise InputError(f"{where}: {what}")
