"""Temporary names: `NAME.PID.expunge-part` while something is written, `NAME.PID.expunge-old` for what it replaces."""

import os
import re
from pathlib import Path

PART, OLD = "part", "old"
PATTERN = re.compile(rf"(?P<name>.+)\.(?P<process>[0-9]{{1,10}})\.expunge-(?P<kind>{PART}|{OLD})", re.DOTALL)


def temporary(path: Path, kind: str = PART) -> Path:
    """Return this process's temporary name for a path; it is in the same folder, so that a rename is atomic."""
    return path.with_name(f"{path.name}.{os.getpid()}.expunge-{kind}")


def split_temporary(name: str) -> tuple[str, str] | None:
    """Return the final name and the kind of a temporary name, or None for any other name."""
    match = PATTERN.fullmatch(name)
    return None if match is None else (match["name"], match["kind"])


def final_path(path: Path) -> Path:
    """Return a path with temporary names in it replaced by the final ones."""
    parts = [split_temporary(part) for part in path.parts]
    return Path(*(part if found is None else found[0] for part, found in zip(path.parts, parts, strict=True)))
