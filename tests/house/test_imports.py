"""Imports run downwards through the packages, without a circle: the contract in pyproject.toml."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
(CONTRACT,) = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]


def test_imports_follow_the_contract():
    pytest.importorskip("importlinter", reason="an extra: pip install expunge[dev]")
    # In a process for itself: import-linter prints to streams that pytest has replaced.
    command = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True, no_logo=True))"
    done = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_package_has_a_place_in_the_order():
    placed = {name.strip() for layer in CONTRACT["layers"] for name in layer.split("|")}
    modules = {path.stem for path in (ROOT / "src" / "expunge").glob("*.py") if not path.stem.startswith("__")}
    packages = {path.parent.name for path in (ROOT / "src" / "expunge").glob("*/__init__.py")}
    assert placed == modules | packages


def test_no_import_is_exempt():
    assert CONTRACT.get("ignore_imports", []) == []
