"""Read files of text within limits, and what YAML and JSON have in common: their limits, and faults of single values."""

import math
from pathlib import Path
from typing import Any

from expunge.errors import InputError
from expunge.files import MAX_DOCUMENT_BYTES, open_regular

MAX_DEPTH = 64
"""Most lists and mappings inside each other."""
MAX_DIGITS = 18
"""Most digits of an integer: it fits into 64 bits. A longer one is a mistake, or takes minutes to convert."""


def read_bytes(path: str | Path, limit: int = MAX_DOCUMENT_BYTES) -> bytes:
    """Read a regular file; raise `InputError` if it cannot be read or is larger than `limit` bytes."""
    with open_regular(Path(path), limit, follow=True) as file:
        # It may have grown since its size was checked.
        return file.read(limit)


def read_text(path: str | Path, limit: int = MAX_DOCUMENT_BYTES) -> str:
    """Read a regular file of UTF-8 text, with or without a byte order mark.

    Raises:
        InputError: it cannot be read, is no regular file, is larger than `limit` bytes, or is not UTF-8.
    """
    return decode(read_bytes(path, limit), str(path))


def find_fault(value: Any) -> str | None:
    """Return what is wrong with a number or a text of any document, or None."""
    if isinstance(value, float) and not math.isfinite(value):
        return "is NaN" if math.isnan(value) else "is an infinite number"
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return "holds half a UTF-16 surrogate pair, which is no character"
    return None


def one_sentence(text: object) -> str:
    """Return a text of a library as part of one line."""
    return " ".join(str(text).split())


def decode(content: bytes, where: str) -> str:
    """Return UTF-8 text, without a byte order mark; raise `InputError` if it is not UTF-8."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        kind = "UTF-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "not UTF-8"
        raise InputError(f"{where}: cannot be read: it is {kind} (byte {error.start + 1}); save it as UTF-8") from error
