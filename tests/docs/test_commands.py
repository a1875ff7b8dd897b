"""Every command, option and setting that the pages show exists."""

import re
from pathlib import Path

import pytest
import typer
import yaml

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
    if not {"_build", "generated"} & set(path.relative_to(ROOT).parts) and path.name != "CHANGELOG.md"
)
BLOCK = re.compile(r"^```\w*\n(.*?)^```|((?:^    .*\n)+)", flags=re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`([^`]+)`")
SECTIONS = "data|edit|training|release|audit"
FILES = ("audit.json", "audit.parquet", "edit.json", "edit.manifest", "edit.written")
"""What files are called, and fields of run.json and of an attestation."""


@pytest.fixture(scope="module")
def commands():
    from expunge.cli.main import app

    return typer.main.get_command(app).commands


@pytest.fixture(scope="module")
def settings():
    from expunge.config.recipe import Recipe
    from expunge.config.section import Section

    def names(prefix, section):
        for name, field in section.model_fields.items():
            yield f"{prefix}{name}"
            kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
            for kind in kinds:
                if isinstance(kind, type) and issubclass(kind, Section):
                    yield from names(f"{prefix}{name}.", kind)

    return set(names("", Recipe))


def shown(page: Path) -> str:
    """Return the blocks and the inline code of a page, a line each."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = [one or other for one, other in BLOCK.findall(text)]
    return "\n".join([*blocks, *INLINE.findall(re.sub(r"\s+", " ", BLOCK.sub("", text)))])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_and_option_exists(page, commands):
    unknown = []
    for line in re.findall(r"^ *(?:accelerate .* -m )?expunge ([a-z]+\b[^#\n]*)", shown(page), flags=re.MULTILINE):
        verb, _, rest = line.strip().partition(" ")
        if verb not in commands:
            unknown.append(line)
            continue
        options = {option for parameter in commands[verb].params for option in parameter.opts} | {"--help"}
        unknown += [line for option in re.findall(r"(?<!\S)--[a-z][a-z-]*", rest) if option not in options]
    assert not unknown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_setting_exists(page, settings):
    mentioned = set(re.findall(rf"(?<![\w./-])((?:{SECTIONS})\.[a-z_]+(?:\.[a-z_]+)*)(?![\w/(])", shown(page)))
    assert not {name for name in mentioned if name not in settings and not name.startswith(FILES)}


YAML_PAGES = [page for page in PAGES if "```yaml" in page.read_text(encoding="utf-8")]


@pytest.mark.parametrize("page", YAML_PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_recipe_and_suite_that_a_page_shows_is_valid(page):
    from expunge.auditing.suite import Suite
    from expunge.config.recipe import make_recipe

    for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE):
        given = yaml.safe_load(block)
        if "attacks" in given:
            Suite.model_validate(given)
        elif "audit" in given or "data" in given:
            make_recipe({"data": {"forget": "forget.jsonl"}, **given})
