"""What is kept of measurements: an edit of what measures throws it away, one of what judges or writes does not."""

import ast
import shutil
from pathlib import Path

import pytest

from expunge.runs.cache import JUDGING, MEASURING, ROOT, code_sha256

MEASURES = ("metrics/text.py", "metrics/likelihood.py", "attacks/relearn.py", "attacks/base.py", "rows.py", "measure.py", "engine.py")
ELSEWHERE = ("data/texts/attacks.yaml", "data/texts/refusals.txt", "data/prompts.py", "models/generation.py", "tasks/likelihood.py")
JUDGES = ("report/html.py", "report/report.html", "record/facts.py", "verdict.py", "summary.py", "suites/quick.yaml", "exam.py")
CHOOSE = {
    "expunge",
    "expunge.console",
    "expunge.errors",
    "expunge.registry",
    "expunge.config.recipe",
    "expunge.runs.folder",
    "expunge.config",
    "expunge.runs.splits",
}
"""Modules that say which records are measured, which goes into the key by itself, or that only show or store."""


@pytest.fixture
def copied(tmp_path):
    """A copy of the package."""
    shutil.copytree(ROOT, tmp_path / "expunge", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "expunge"


@pytest.mark.parametrize("name", [*(f"audit/{name}" for name in MEASURES), *ELSEWHERE])
def test_an_edit_of_what_measures_makes_another_hash(copied, name):
    before = code_sha256(copied)
    assert before == code_sha256()
    with (copied / name).open("a", encoding="utf-8") as file:
        file.write("# edited\n")
    assert code_sha256(copied) != before


@pytest.mark.parametrize("name", [*(f"audit/{name}" for name in JUDGES), "cli/audit.py"])
def test_an_edit_of_what_judges_or_writes_does_not(copied, name):
    before = code_sha256(copied)
    with (copied / name).open("a", encoding="utf-8") as file:
        file.write("# edited\n")
    assert code_sha256(copied) == before


def test_whatever_metrics_attacks_and_models_import_is_hashed():
    folders = ("audit/metrics", "audit/attacks", "data", "edits", "models", "objectives")
    measuring = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    left_out = {(str(path.relative_to(ROOT)), name) for path in measuring for name in imported(path) if not is_hashed(name)}
    assert left_out == set()


def imported(path: Path) -> set[str]:
    """Modules of ours that a file imports."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ImportFrom)]
    return {node.module for node in nodes if node.module and node.module.startswith("expunge")} - CHOOSE


def is_hashed(module: str) -> bool:
    """Whether a module's file, or its package's, is among what is hashed."""
    place = module.removeprefix("expunge.").replace(".", "/")
    name = f"{place}.py" if (ROOT / f"{place}.py").exists() else f"{place}/__init__.py"
    return name.startswith(MEASURING) and not name.startswith(JUDGING)
