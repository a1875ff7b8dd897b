"""Write the tables of the studies into the pages of results, with date, machine and package versions."""

import datetime
import json
import os
import platform
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from expunge.errors import InputError
from expunge.files import write_text
from expunge.runs.folder import versions

DOCS = Path("docs")
TABLE_WIDTH, TEXT_WIDTH = 170, 98
"""Characters of a line, so that pages can be read as plain text too."""


def measured_on() -> str:
    """Return today's date, the machine and the versions of the packages."""
    packages = ", ".join(f"{name} {version}" for name, version in versions().items())
    return f"{datetime.date.today().isoformat()}; {platform.processor() or platform.machine()}, {os.cpu_count()} cores; {packages}"


def markdown(corner: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    """Return a table in Markdown, `rows` by name. A table too wide for a page becomes several with the same row names."""
    lines = [[corner, *columns], ["---"] * (len(columns) + 1), *([name, *cells] for name, cells in rows.items())]
    tables = [[[line[0], *(line[column] for column in part)] for line in lines] for part in _parts(corner, columns, rows)]
    return "\n\n".join("\n".join(f"| {' | '.join(cells)} |" for cells in table) for table in tables)


def _parts(corner: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> Iterator[list[int]]:
    """Yield the numbers of the columns (from 1) that fit beside the row names, from left to right."""
    part: list[int] = []
    lengths = [len(name) for name in (corner, *rows)]
    for number, column in enumerate(columns, start=1):
        added = [3 + len(cell) for cell in (column, *(cells[number - 1] for cells in rows.values()))]
        if part and max(length + more for length, more in zip(lengths, added, strict=True)) > TABLE_WIDTH:
            yield part
            part, lengths = [], [len(name) for name in (corner, *rows)]
        part.append(number)
        lengths = [length + more for length, more in zip(lengths, added, strict=True)]
    yield part


def wrapped(text: str) -> str:
    """Return Markdown with its paragraphs wrapped; tables stay as they are."""
    return "\n".join(line if line.startswith("|") else textwrap.fill(line, TEXT_WIDTH, break_long_words=False) for line in text.split("\n"))


def write(mark: str, text: str) -> None:
    """Replace the text between the two marks, in the one page below docs/ that holds them.

    Raises:
        InputError: if no page or more than one holds the marks.
    """
    pages = [page for page in DOCS.rglob("*.md") if mark in page.read_text(encoding="utf-8")]
    if len(pages) != 1:
        raise InputError(f"{DOCS}: {len(pages)} pages hold the mark {mark}; put it in one page, before and after the place of the table")
    before, _, after = pages[0].read_text(encoding="utf-8").split(mark)
    pages[0].write_text(f"{before}{mark}\n\n{wrapped(text)}\n{mark}{after}", encoding="utf-8")


def read_or_make(path: Path, make: Callable[[], Any]) -> Any:
    """Return the content of a JSON file; if it does not exist, make and save it first."""
    if not path.exists():
        write_text(path, json.dumps(make(), indent=1) + "\n")
    return json.loads(path.read_text(encoding="utf-8"))


def slug(name: str) -> str:
    """Return a folder name made of the letters and digits of a name."""
    return "-".join("".join(c if c.isalnum() else " " for c in name.lower()).split())
