"""The tests mirror the packages of the source, so that a reader finds the test of a file."""

from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OTHER = ("house", "docs", "faults")
"""Folders of tests that are not about a package: about the repository, the documentation, and faults in every verb."""
FOLDERS = sorted({path.parent.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*.py")} - {Path(".")})


@pytest.mark.parametrize("folder", [folder for folder in FOLDERS if folder.parts[0] not in OTHER], ids=str)
def test_a_folder_of_tests_is_a_package_of_the_source(folder):
    assert (ROOT / "src" / "expunge" / folder / "__init__.py").exists()


def test_every_package_has_tests():
    packages = {path.parent.name for path in (ROOT / "src" / "expunge").glob("*/__init__.py")}
    assert packages - {folder.parts[0] for folder in FOLDERS} == set()


def test_no_two_test_files_have_the_same_name():
    # The tests are not packages: pytest cannot import two modules of one name.
    names = Counter(path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py")
    assert [name for name, count in names.items() if count > 1] == []
