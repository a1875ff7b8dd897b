"""Files and packages stay small enough to read."""

from collections import Counter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "expunge"
LINES = {path.relative_to(SOURCE): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCE.rglob("*.py")}
MOST_LINES = 300
MOST_SHARE = 0.15


@pytest.mark.parametrize("path", sorted(LINES), ids=str)
def test_no_file_has_more_than_300_lines(path):
    assert LINES[path] <= MOST_LINES


def test_no_package_has_more_than_15_percent_of_the_lines():
    packages = Counter()
    for path, lines in LINES.items():
        packages[path.parts[0]] += lines
    total = sum(packages.values())
    assert {name: round(lines / total, 3) for name, lines in packages.items() if lines > MOST_SHARE * total} == {}
