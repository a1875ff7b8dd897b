"""Every path, name and link in the pages for contributors and readers exists."""

import importlib
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAPS = ("CONTRIBUTING.md", "AGENTS.md", "docs/architecture.md")
PAGES = sorted(
    path
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").rglob("*.md"))
    if not {"_build", "generated"} & set(path.relative_to(ROOT).parts)
)
CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
PATH = re.compile(r"(?:src|tests|docs|recipes|launch|benchmarks|\.ci)/[\w./<>*-]+")
PLACEHOLDERS = {"<name>": "*", "<file>": "*"}
GENERATED = {
    "reference/generated/cli.md",
    "reference/generated/settings.md",
    "reference/generated/choices.md",
    "reference/generated/api.md",
    "tutorials/generated/python.md",
}
"""Pages that `docs/_ext/generated.py` writes."""
NAMES = {
    "Objective": "expunge.objectives.base",
    "Scores": "expunge.models.scores",
    "OBJECTIVES": "expunge.objectives",
    "Edit": "expunge.edits.base",
    "EDITS": "expunge.edits",
    "EDIT_PRESETS": "expunge.config",
    "Attack": "expunge.auditing.attacks.base",
    "Sensitivity": "expunge.auditing.blindness",
    "ATTACKS": "expunge.auditing.attacks",
    "METRICS": "expunge.metrics",
    "Probe": "expunge.auditing.probes.base",
    "Task": "expunge.tasks.base",
    "TASKS": "expunge.tasks",
    "ORACLES": "expunge.oracles",
    "InputError": "expunge.errors",
    "ExpungeError": "expunge.errors",
}
"""Names of code that the pages mention, and where they are."""
NOT_CODE = {"Apache-2.0", "LICENSE", "CHANGELOG.md"}


def lines_outside_code(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_that_a_page_names_exists(page):
    paths = {match for code in CODE.findall(page.read_text(encoding="utf-8")) for match in PATH.findall(code)}
    missing = []
    for path in sorted(paths):
        pattern = path
        for placeholder, star in PLACEHOLDERS.items():
            pattern = pattern.replace(placeholder, star)
        if not pattern.startswith("docs/_build") and not list(ROOT.glob(pattern.rstrip("/"))):
            missing.append(path)
    assert not missing


def test_every_folder_of_the_tree_exists_and_none_is_left_out():
    tree = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("    cli/ ")[2].partition("## Add")[0]
    named = {"cli/"} | set(re.findall(r"^ +([\w]+/|[\w]+\.py) ", tree, flags=re.MULTILINE))
    package = ROOT / "src" / "expunge"
    folders = {f"{path.name}/" for path in package.iterdir() if (path / "__init__.py").exists()}
    missing = [name for name in named if not (package / name).exists() and not (package / "auditing" / name).exists()]
    assert not missing
    assert folders <= named


def test_the_floor_plan_has_the_order_of_the_import_contract():
    (contract,) = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    table = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").partition("| layer | holds |")[2].partition("\n\n")[0]
    rows = [CODE.findall(row.split("|")[1]) for row in table.splitlines() if row.startswith("| `")]
    assert [[name.removesuffix("/").removesuffix(".py") for name in row] for row in rows] == [
        [name.strip() for name in layer.split("|")] for layer in contract["layers"]
    ]


@pytest.mark.parametrize("name", MAPS)
def test_every_folder_of_the_package_that_a_map_names_exists(name):
    package = ROOT / "src" / "expunge"
    parents = (package, package / "auditing", package / "reveal_release", ROOT)
    folders = {code for code in CODE.findall((ROOT / name).read_text(encoding="utf-8")) if re.fullmatch(r"[\w/]+/", code)}
    assert not [folder for folder in folders if not any((parent / folder).is_dir() for parent in parents)]


@pytest.mark.parametrize("name", MAPS)
def test_every_name_of_code_in_a_map_exists(name):
    mentioned = set(CODE.findall((ROOT / name).read_text(encoding="utf-8")))
    names = {code for code in mentioned if re.fullmatch(r"[A-Z]\w+", code)} - NOT_CODE
    assert names <= set(NAMES)
    for code in sorted(names):
        assert hasattr(importlib.import_module(NAMES[code]), code), code


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_of_a_page_resolves(page):
    docs = ROOT / "docs"
    broken = []
    for link in LINK.findall(lines_outside_code(page)):
        target = link.partition("#")[0]
        if not target or "://" in link:
            continue
        path = (page.parent / target).resolve()
        if path.is_relative_to(docs) and path.relative_to(docs).as_posix() in GENERATED:
            continue
        if not path.exists():
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_module_and_function_that_a_page_names_exists(page):
    text = page.read_text(encoding="utf-8")
    for command in set(re.findall(r"python -m (benchmarks[\w.]+)", text)):
        assert (ROOT / f"{command.replace('.', '/')}.py").exists(), command
    for name in {code for code in CODE.findall(text) if re.fullmatch(r"expunge(?:\.\w+)+", code)}:
        found = importlib.import_module("expunge")
        for part in name.split(".")[1:]:
            # A module that nothing imported yet is no attribute of its package.
            found = getattr(found, part) if hasattr(found, part) else importlib.import_module(f"{found.__name__}.{part}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_line_of_a_page_is_longer_than_300_characters(page):
    assert max(map(len, page.read_text(encoding="utf-8").split("\n"))) <= 300


def test_the_readme_has_fewer_than_120_lines():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 120


def test_agents_fits_on_a_page():
    assert len((ROOT / "AGENTS.md").read_text(encoding="utf-8").splitlines()) <= 60


def test_every_study_has_a_row_in_the_index():
    results = ROOT / "docs" / "results"
    index = (results / "index.md").read_text(encoding="utf-8")
    studies = {path.name for path in results.glob("*.md")} - {"index.md"}
    assert studies == set(LINK.findall(index)) & studies
    assert studies <= {f"{line}.md" for line in index.splitlines()}


def test_every_page_of_the_docs_is_in_a_table_of_contents():
    docs = ROOT / "docs"
    trees = "\n".join(path.read_text(encoding="utf-8") for path in (docs / "index.md", docs / "results" / "index.md"))
    pages = [page.relative_to(docs).with_suffix("").as_posix() for page in PAGES if page.is_relative_to(docs)]
    assert not [page for page in pages if page != "index" and page.removeprefix("results/") not in trees and page not in trees]
