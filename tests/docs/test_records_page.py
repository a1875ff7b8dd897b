"""The page about records names the forms of files, the names of fields and the columns of a map that the code knows."""

import re
from pathlib import Path

from expunge.data.columns import lookup
from expunge.data.conversations import ROLE_NAMES, SPEAKERS
from expunge.data.fields import ALIASES, ALPACA, FIELDS
from expunge.data.readers import SUFFIXES
from expunge.data.text_lines import PACKED

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "records.md").read_text(encoding="utf-8")
ROW = {"query": "Who?", "answers": ["Ada.", "Bo."], "context": "A list.", "question": "Who?"}
VALUES = {"query": "Who?", "answers[0]": "Ada.", "answers.text[0]": "Ada.", "context+question": "A list.\nWho?"}


def section(title: str) -> str:
    return PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


def table(title: str) -> list[list[str]]:
    """Return the cells of all rows of all tables of a section."""
    rows = [line.strip("|").split("|") for line in section(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows]


def codes(text: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", text))


def test_the_page_has_every_end_of_a_file_name():
    assert {code for row in table("Forms of files") for code in codes(row[0])} == set(SUFFIXES)
    assert set(PACKED) <= codes(section("Forms of files"))


def test_the_page_has_every_name_of_a_field():
    names = {row[0]: codes(row[1]) for row in table("Names of fields") if codes(row[0]) <= set(FIELDS)}
    read = dict(ALIASES)
    for ours, found in names.items():
        for field in codes(ours):
            assert read.pop(field) in found
            assert set(ALPACA.get(field, "").split("+")) - {""} <= found
    assert read == {}
    assert set(ROLE_NAMES) | (set(SPEAKERS) - {"user", "assistant"}) <= codes(section("Names of fields"))


def test_the_columns_of_a_map_are_as_the_page_says():
    shown = {code for row in table("Names of fields") if row[1].startswith(("the ", "two ")) for code in codes(row[0])}
    assert shown == VALUES.keys()
    for column, value in VALUES.items():
        row = {**ROW, "answers": {"text": ROW["answers"]}} if ".text" in column else ROW
        assert lookup(row, column) == value
