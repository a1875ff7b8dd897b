"""Read rows from files of JSON: one object a line, an array of objects, or objects over several lines."""

import io
import json
import re
from collections.abc import Iterator

from expunge.data.text_lines import blocks, lines
from expunge.data.values import MAX_ID_DIGITS, MAX_LINE_BYTES, Row, kind
from expunge.documents import parse_json
from expunge.errors import InputError

# Only finds where a value ends: every integer is read as a text, since a long one takes minutes to convert.
_SCANNER = json.JSONDecoder(parse_int=str, parse_float=str)
_SPACE = re.compile(r"[ \t\r\n]*")
LONGEST_TOKEN = 16
"""An error so near to the end of what was read may come from a word, number or escape that goes on in the next block."""


def json_rows(name: str, file: io.BufferedReader) -> Iterator[tuple[int, Row]]:
    """Yield (number, object) of a file from `open_text`.

    The number is that of the line on which the object starts. In an array with several objects on a line it counts on from there.

    Raises:
        InputError: something in it is not an object, or not JSON.
    """
    start = file.peek(1).lstrip()
    if start.startswith(b"["):
        yield from _Values(name, file, is_array=True).rows()
    elif start.partition(b"\n")[0].strip() == b"{":
        yield from _Values(name, file, is_array=False).rows()
    else:
        yield from _rows_of_lines(name, file)


def _rows_of_lines(name: str, file: io.BufferedReader) -> Iterator[tuple[int, Row]]:
    for number, line in lines(name, file):
        if not line.strip():
            continue
        where = f"{name}:{number}"
        row = parse_json(line, where, "the line" if line.endswith("\n") else "the last line is cut off or", MAX_ID_DIGITS)
        if not isinstance(row, dict):
            raise InputError(f"{where}: the line is {kind(row)}; each line must be one JSON object")
        yield number, row


class _Values:
    """The values of an array, or values one after another, read block by block so that only one value is in memory."""

    def __init__(self, name: str, file: io.BufferedReader, is_array: bool):
        self.name, self.is_array = name, is_array
        self.blocks = blocks(name, file)
        self.text, self.at, self.line = "", 0, 1

    def rows(self) -> Iterator[tuple[int, Row]]:
        """Yield (number, object)."""
        number = 0
        if self.is_array:
            self._take("[")
        more = self._next() not in (("", "]") if self.is_array else ("",))
        while more:
            number = max(self.line, number + 1)
            yield number, self._object(f"{self.name}:{self.line}")
            more = bool(self._next()) if not self.is_array else self._next() != "]"
            if self.is_array and more:
                self._take(",")
                self._next()
        if self.is_array:
            self._take("]")
            if self._next():
                raise InputError(f"{self.name}:{self.line}: more text follows the end of the array; remove it")

    def _object(self, where: str) -> Row:
        end = self._find_end(where)
        value = parse_json(self.text[self.at : end], where, "the object", MAX_ID_DIGITS)
        if not isinstance(value, dict):
            raise InputError(f"{where}: an item of the array is {kind(value)}; each item must be one JSON object")
        self._advance(end)
        return value

    def _find_end(self, where: str) -> int:
        while True:
            try:
                _, end = _SCANNER.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                length, cut_off = (
                    len(self.text) - self.at,
                    error.msg.startswith("Unterminated") or error.pos > len(self.text) - LONGEST_TOKEN,
                )
                # Doubling the text bounds the time of the repeated attempts.
                if cut_off and length <= MAX_LINE_BYTES and self._read(length):
                    continue
                what = "the last object is cut off or is" if cut_off and length <= MAX_LINE_BYTES else "the object is"
                raise InputError(f"{self.name}:{self._line_at(error.pos)}: {what} not valid JSON ({error.msg})") from error
            except RecursionError as error:
                raise InputError(f"{where}: the object is nested too deeply") from error
            if end - self.at > MAX_LINE_BYTES:
                raise InputError(f"{where}: the object is longer than {MAX_LINE_BYTES} bytes")
            return end

    def _take(self, expected: str) -> None:
        char = self._next()
        if char != expected:
            raise InputError(
                f"{self.name}:{self.line}: the array is {'not valid JSON' if char else 'cut off'} (no {expected!r} where it must be)"
            )
        self._advance(self.at + 1)

    def _next(self) -> str:
        """Return the next character that is not white space, or nothing at the end."""
        while True:
            space = _SPACE.match(self.text, self.at)
            self._advance(space.end() if space else self.at)
            if self.at < len(self.text) or not self._read(1):
                return self.text[self.at : self.at + 1]

    def _read(self, characters: int) -> bool:
        """Read at least so many characters more; return whether there were any."""
        more = []
        while characters > 0 and (block := next(self.blocks, None)) is not None:
            more.append(block)
            characters -= len(block)
        self.text = self.text[self.at :] + "".join(more)
        self.at = 0
        return bool(more)

    def _advance(self, to: int) -> None:
        self.line = self._line_at(to)
        self.at = to

    def _line_at(self, position: int) -> int:
        return self.line + self.text.count("\n", self.at, position)
