"""Write the tables of the studies into the pages of results, with date, machine and package versions."""

import datetime
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

from expunge.errors import InputError
from expunge.runs.folder import versions

DOCS = Path("docs")


def measured_on() -> str:
    """Today's date, the machine and the versions of the packages."""
    packages = ", ".join(f"{name} {version}" for name, version in versions().items())
    return f"{datetime.date.today().isoformat()}; {platform.processor() or platform.machine()}, {os.cpu_count()} cores; {packages}"


def markdown(corner: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    """A table in Markdown; `rows` are its lines by their names."""
    lines = [[corner, *columns], ["---"] * (len(columns) + 1), *([name, *cells] for name, cells in rows.items())]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def write(mark: str, text: str) -> None:
    """Replace the text between the two marks, in the one page below docs/ that holds them.

    Raises:
        InputError: if no page or more than one holds the marks.
    """
    pages = [page for page in DOCS.rglob("*.md") if mark in page.read_text(encoding="utf-8")]
    if len(pages) != 1:
        raise InputError(f"{DOCS}: {len(pages)} pages hold the mark {mark}; put it in one page, before and after the place of the table")
    before, _, after = pages[0].read_text(encoding="utf-8").split(mark)
    pages[0].write_text(f"{before}{mark}\n\n{text}\n{mark}{after}", encoding="utf-8")


def slug(name: str) -> str:
    """A name for a folder."""
    return "-".join("".join(c if c.isalnum() else " " for c in name.lower()).split())
