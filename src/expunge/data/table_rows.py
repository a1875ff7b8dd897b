"""Read rows from CSV files: separated by commas, tabs, semicolons or pipes, which the header decides."""

import csv
import io
import logging
import math
import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import chain

from expunge.data.text_lines import lines
from expunge.data.values import MAX_ID_DIGITS, MAX_LINE_BYTES, Row
from expunge.documents import parse_json
from expunge.errors import InputError

log = logging.getLogger(__name__)

SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "pipes"}
_SEP_LINE = re.compile(r'"?sep=(.)"?', re.IGNORECASE)
_QUOTED = re.compile(r'"[^"]*"')


def table_rows(name: str, file: io.BufferedReader, expected: str, lists: set[str]) -> Iterator[tuple[int, Row]]:
    """Yield (line, row) of a CSV file from `open_text`. Columns without a name at the right end are not read.

    Args:
        name: the file as the user gave it.
        file: the file.
        expected: the separator that the file's name promises; another one that is found is reported in a remark.
        lists: the columns whose cells may hold a JSON list.

    Raises:
        InputError: it is not well-formed.
    """
    header: list[str] = []
    for start, cells in _cells(name, file, expected):
        where = f"{name}:{start}"
        if not any(cells):
            continue
        if not header:
            header = _without_empty_end([cell.strip() for cell in cells], 0)
            distinct_columns(where, header)
            continue
        cells = _without_empty_end(cells, len(header))
        if len(cells) != len(header):
            raise InputError(f"{where}: the number of cells is {len(cells)}, the header has {len(header)}")
        yield start, {column: _cell(where, cell, column in lists) for column, cell in zip(header, cells, strict=True)}


def distinct_columns(where: str, header: list[str]) -> None:
    """Raise `InputError` if two columns have the same name."""
    for i, column in enumerate(header):
        if column in header[:i]:
            # The name is left out: in a file without a header it is a text to forget.
            raise InputError(f"{where}: columns {header.index(column) + 1} and {i + 1} have the same name")


def _cells(name: str, file: io.BufferedReader, expected: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (line, cells) of each row. A first line such as `sep=;`, which Excel reads and writes, names the separator."""
    numbered = lines(name, file)
    number, first = next(((number, line) for number, line in numbered if line.strip()), (1, ""))
    named = _SEP_LINE.fullmatch(first.strip("\r\n"))
    rest = (line for _, line in numbered)
    separator = named[1] if named else _separator(first, expected)
    if separator not in SEPARATORS:
        raise InputError(f"{name}:{number}: the separator of a sep= line must be one of {', '.join(SEPARATORS.values())}")
    if separator != expected:
        _report(name, SEPARATORS[separator])
    before = number if named else number - 1
    # A cell may be as long as a line; the library's own limit is 128 KiB, and one for the whole process.
    csv.field_size_limit(MAX_LINE_BYTES)
    reader = csv.reader(rest if named else chain([first], rest), delimiter=separator, strict=True)
    while True:
        start = before + reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise InputError(f"{name}:{start}: not valid CSV ({error})") from error
        if cells is None:
            return
        yield start, cells


def _separator(header: str, expected: str) -> str:
    bare = _QUOTED.sub("", header)
    return max((expected, *SEPARATORS), key=bare.count)


# A run reads its files several times.
@lru_cache
def _report(name: str, separators: str) -> None:
    log.warning("%s: the columns are separated by %s", name, separators)


def _without_empty_end(cells: list[str], at_least: int) -> list[str]:
    while len(cells) > at_least and not cells[-1]:
        cells = cells[:-1]
    return cells


def _cell(where: str, cell: str, may_be_list: bool) -> object:
    if not cell:
        return None
    # CSV has no types; pandas and numpy write a missing value in these two ways.
    if cell in ("nan", "NaN"):
        return math.nan
    if may_be_list and cell.startswith("["):
        return parse_json(cell, where, "a list in a cell", MAX_ID_DIGITS)
    return cell
