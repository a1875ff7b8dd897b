"""Look up columns of a row by name, by path (`answers[0]`, `answers.text[0]`) or joined (`instruction+input`)."""

import re
from typing import Final

from expunge.data.values import Row

MISSING: Final = object()
"""The value of a column that a row does not have."""
JOINT = "+"
_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]|\.")
_PATH = re.compile(r"[^.\[\]]+(\[\d{1,9}\])*(\.[^.\[\]]+(\[\d{1,9}\])*)*")


def lookup(row: Row, column: str) -> object:
    """Return the value of a column, or `MISSING`.

    A column of exactly this name comes first. A path leads into objects and lists; a list that is too short gives None. Joined columns
    give their texts, without those that are empty, one a line.
    """
    if column in row:
        return row[column]
    if JOINT in column:
        return _joined([lookup(row, part) for part in column.split(JOINT)])
    return _follow(row, column) if _PATH.fullmatch(column) else MISSING


def missing_parts(row: Row, column: str) -> set[str]:
    """Return the joined parts of a column, or the column itself, that a row does not have."""
    parts = [column] if column in row else column.split(JOINT)
    return {part for part in parts if lookup(row, part) is MISSING}


def bases(column: str) -> set[str]:
    """Return the names that a column may have in the header: its own, and those that its path or its parts begin with."""
    return {column, *(re.split(r"[.\[]", part, maxsplit=1)[0] for part in column.split(JOINT))}


def _follow(row: Row, path: str) -> object:
    value: object = row
    for name, index in _STEP.findall(path):
        if index and isinstance(value, list):
            value = value[int(index)] if int(index) < len(value) else None
        elif name and isinstance(value, dict) and name in value:
            value = value[name]
        elif name or index:
            return MISSING
    return value


def _joined(values: list[object]) -> object:
    present = [value for value in values if value is not MISSING]
    if not present:
        return MISSING
    texts = [value for value in present if value is not None and value != ""]
    # Whatever is no text is returned itself, so that the error is about it.
    odd = [value for value in texts if not isinstance(value, str)]
    return odd[0] if odd else "\n".join(str(text) for text in texts if str(text).strip()) or None
