"""Suggest the columns of a row that its missing fields may have, for the `--map` that an error names."""

import difflib
import re
from collections.abc import Iterator

from expunge.data.values import Row

# Names of the fields in other data sets.
LOOKALIKES = {
    "prompt": ("instruction", "query", "problem", "input", "user", "human"),
    "answer": ("completion", "response", "output", "target", "solution", "reply", "label", "assistant"),
    "messages": ("conversation", "dialogue", "dialog", "chat"),
    "text": ("content", "document", "passage", "body"),
}
JOINED = {"instruction": ("input", "context")}
"""A column of the prompt -> columns of other data sets that are part of the same prompt."""
_NAME = re.compile(r"\w[\w.-]*")


def text_columns(row: Row) -> list[str]:
    """Return the columns of a row that hold a text, as `--map` names them: also the first text of a list, and texts of an object."""
    return [column for name, value in row.items() for column in _texts(name, value)]


def suggest(fields: list[str], row: Row, columns: list[str]) -> dict[str, str]:
    """Return field -> column for missing fields. Columns with a similar name come first.

    Args:
        fields: `prompt` and `answer`, one of them, `messages` or `text`; or all of them, if any shape would do.
        row: the row.
        columns: its columns that no field has yet.
    """
    spare = [column for column in text_columns(row) if column in columns or re.split(r"[.\[]", column)[0] in columns]
    spare += [column for column in columns if isinstance(row[column], list) and column not in spare]
    found = {}
    for field in fields:
        if (column := _lookalike(field, [column for column in spare if column not in found.values()])) is not None:
            found[field] = column
    if found.keys() & {"prompt", "answer"}:
        found = {field: column for field, column in found.items() if field in ("prompt", "answer")}
    elif found:
        return dict([next(iter(found.items()))])
    # Only guesses remain: the columns of text in their order, or a single one as a plain text.
    needed = [field for field in fields if field in ("prompt", "answer")]
    rest = [column for column in spare if column not in found.values() and _may_be_shown(row, column)]
    plain = [column for column in rest if column in row and isinstance(row[column], str)]
    unfound = [field for field in needed if field not in found]
    if len(plain) >= len(unfound) > 0:
        found |= dict(zip(unfound, plain, strict=False))
    elif not found and "text" in fields and rest:
        return {"text": (plain or rest)[0]}
    return {field: _with_rest_of_prompt(field, found[field], columns) for field in needed if field in found}


def answer_beside(row: Row, columns: list[str]) -> str | None:
    """Return the column that looks like the answer to a question in another one, or None."""
    names = {name + end for name in LOOKALIKES["answer"] for end in ("", "s")}
    return next((column for column in columns if column.lower() in names and isinstance(row[column], str)), None)


def _texts(name: str, value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield name
    elif isinstance(value, list) and value and isinstance(value[0], str):
        yield f"{name}[0]"
    elif isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(key, str) and _NAME.fullmatch(key) and "." not in key:
                yield from _texts(f"{name}.{key}", inner)


def _lookalike(field: str, columns: list[str]) -> str | None:
    lower = {re.sub(r"\[0\]$", "", column).lower(): column for column in reversed(columns)}
    close = difflib.get_close_matches(field, lower, n=1, cutoff=0.75)
    words = {column: set(re.split(r"[\W_]+", name)) for name, column in reversed(lower.items())}
    named = [lower[name] for name in LOOKALIKES[field] if name in lower]
    parts = [column for name in (field, *LOOKALIKES[field]) for column, found in words.items() if found & {name, f"{name}s"}]
    return next(iter([*(lower[name] for name in close), *named, *parts]), None)


def _with_rest_of_prompt(field: str, column: str, columns: list[str]) -> str:
    rest = next((name for name in JOINED.get(column.lower(), ()) if name in columns), None) if field == "prompt" else None
    return column if rest is None else f"{column}+{rest}"


def _may_be_shown(row: Row, column: str) -> bool:
    # In a CSV file without a header the names of the columns are texts to forget; only one of its list columns is no text.
    return column not in row or _NAME.fullmatch(column) is not None
