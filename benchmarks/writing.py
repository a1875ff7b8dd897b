"""What the studies write alike: where a number was measured, and the table's place in docs/results.md."""

import datetime
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

from expunge.runs.folder import versions

PAGE = Path("docs/results.md")


def measured_on() -> str:
    """Today's date, the machine and the versions of the packages."""
    packages = ", ".join(f"{name} {version}" for name, version in versions().items())
    return f"{datetime.date.today().isoformat()}; {platform.processor() or platform.machine()}, {os.cpu_count()} cores; {packages}"


def markdown(corner: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    """A table in Markdown; `rows` are its lines by their names."""
    lines = [[corner, *columns], ["---"] * (len(columns) + 1), *([name, *cells] for name, cells in rows.items())]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def write(mark: str, text: str) -> None:
    """Put a text between the two marks of the page; where there are none yet, at its end, between new ones."""
    page = PAGE.read_text(encoding="utf-8")
    before, _, after = page.split(mark) if mark in page else (f"{page}\n", "", "\n")
    PAGE.write_text(f"{before}{mark}\n\n{text}\n{mark}{after}", encoding="utf-8")


def slug(name: str) -> str:
    """A name for a folder."""
    return "-".join("".join(c if c.isalnum() else " " for c in name.lower()).split())
