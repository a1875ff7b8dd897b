"""The table of words in the reference of metrics says what the tokenizer does."""

import re
from pathlib import Path

from expunge.metrics.words import words

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"


def test_the_examples_of_words_are_what_the_tokenizer_finds():
    section = PAGE.read_text(encoding="utf-8").split("## Words in every script")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| `")]
    assert len(rows) >= 10
    for texts, expected, _ in rows:
        found = [word for text in re.findall(r"`([^`]+)`", texts) for word in words(text)]
        listed = [] if expected.strip() == "none" else expected.strip().split(", ")
        assert list(dict.fromkeys(found)) == listed, texts
