"""The pages use the field's words: the worst of the old coinages stay out of docs/, README.md and the pages for contributors."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")) if not {"_build", "generated"} & set(path.relative_to(ROOT).parts)
)
COINAGES = {
    "asked": "queried, prompted",
    "asking": "querying, prompting",
    "begun": "started, prefilled",
    "custody": "private files",
    "dress": "prompt variant",
    "dresses": "prompt variants",
    "exam": "evaluation",
    "kept": "retained, cached, stored",
    "lesson": "augmentation",
    "lessons": "augmentations",
    "likewise": "the same",
    "pem": "LoRA module",
    "pems": "LoRA modules",
    "sifting": "selection",
    "somebody": "a person",
    "telling": "distinctive",
    "told": "leaked, revealed",
    "wanted": "target, requested",
    "worn": "used",
}
"""A word, and what to write in its place."""
ALLOWED = re.compile(r"controller(?:\.pub)?\.pem|I have not been told about")
"""Key files end in .pem; an answer of a model is quoted as it was."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_uses_the_words_of_the_field(page):
    text = ALLOWED.sub("", page.read_text(encoding="utf-8"))
    used = {word.lower() for word in re.findall(r"[A-Za-z]+", text)} & set(COINAGES)
    assert not {word: f"write {COINAGES[word]}" for word in used}
