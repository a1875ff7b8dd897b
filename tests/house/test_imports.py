"""Imports run downwards through the packages, without a circle: the contract in pyproject.toml."""

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
(CONTRACT,) = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]


def test_imports_follow_the_contracts(capsys):
    importlinter = pytest.importorskip("importlinter.cli", reason="an extra: pip install expunge[dev]")
    code = importlinter.lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True, no_logo=True)
    assert code == 0, capsys.readouterr().out


def test_every_package_has_a_place_in_the_order():
    placed = {name.strip() for layer in CONTRACT["layers"] for name in layer.split("|")}
    modules = {path.stem for path in (ROOT / "src" / "expunge").glob("*.py") if not path.stem.startswith("__")}
    packages = {path.parent.name for path in (ROOT / "src" / "expunge").glob("*/__init__.py")}
    assert placed == modules | packages
