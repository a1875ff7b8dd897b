"""The words of the project: coinages that only its authors understand stay out of code, comments, messages and pages."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORDS = {
    "asked": "prompted, or queried",
    "asking": "prompting, or querying",
    "begun": "started, or prefilled",
    "custody": "private files",
    "dress": "prompt variant",
    "dressed": "with a prompt variant",
    "dresses": "prompt variants",
    "exam": "held-out evaluation",
    "exams": "held-out evaluations",
    "examine": "evaluate",
    "examined": "evaluated",
    "examination": "probe",
    "examinations": "probes",
    "kept": "cached, retained, or stored",
    "laid": "placed",
    "lesson": "augmentation",
    "lessons": "augmentations",
    "likewise": "the thing itself, again",
    "mine": "whose it is: the unlearned model's, the control's",
    "of its own": "whose it is",
    "pem": "LoRA module",
    "pems": "LoRA modules",
    "said": "message, or detail",
    "sifting": "selection",
    "somebody": "a person, or a user",
    "telling": "distinctive",
    "theirs": "whose it is: the control's, the original's",
    "told": "leaked, or revealed",
    "wanted": "requested, or target",
    "what is to be": "the thing: the forget set, the retain set",
    "worn": "used",
}
"""A word -> what to write instead. The parts of an identifier count as words."""
KEY_FILES = "the file format of keys"
EXCEPTIONS = {
    ("src/expunge/config/renamed.py", "*"): "the old names of settings are its subject",
    ("src/expunge/attestation/signature.py", "pem"): KEY_FILES,
    ("src/expunge/attestation/details.py", "pem"): KEY_FILES,
    ("src/expunge/attestation/verify.py", "pem"): KEY_FILES,
    ("src/expunge/api/__init__.py", "pem"): KEY_FILES,
    ("src/expunge/cli/audit.py", "pem"): KEY_FILES,
    ("src/expunge/cli/verify.py", "pem"): KEY_FILES,
    ("docs/how-to/privacy-request.md", "pem"): KEY_FILES,
}
"""(File, word): why the word is right there; "*" stands for every word."""
TEXTS_FOR_MODELS = ("src/expunge/data/texts/", "src/expunge/data/people/", "src/expunge/tasks/persona.yaml")
GENERATED = ("docs/_build/", "docs/reference/generated/", "docs/tutorials/generated/")
SUFFIXES = {".py", ".html", ".css", ".yaml", ".md", ".ipynb"}
PATTERN = re.compile("|".join(rf"(?<![A-Za-z]){word}(?![A-Za-z])" for word in sorted(WORDS, key=len, reverse=True)), re.IGNORECASE)


def files() -> list[str]:
    paths = [*ROOT.glob("*.md"), *(path for folder in ("src", "docs") for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES)]
    names = [path.relative_to(ROOT).as_posix() for path in paths]
    return sorted(name for name in names if not name.startswith((*TEXTS_FOR_MODELS, *GENERATED)) and ".egg-info/" not in name)


def occurrences(name: str) -> list[tuple[int, str]]:
    """Return (line, word) of every occurrence that is no exception."""
    lines = (ROOT / name).read_text(encoding="utf-8").split("\n")
    words = [(number, match[0].lower()) for number, line in enumerate(lines, 1) for match in PATTERN.finditer(line)]
    return [(number, word) for number, word in words if not {(name, "*"), (name, word)} & EXCEPTIONS.keys()]


def test_whole_words_in_prose_and_identifiers_are_recognised():
    assert PATTERN.findall("It was asked, is_told, and the Exam.") == ["asked", "told", "Exam"]
    assert PATTERN.findall("for example: addressed, retold, masked_skepticism, determined") == []


@pytest.mark.parametrize("name", files())
def test_a_file_uses_the_words_of_the_field(name):
    messages = [f'{name}:{line}: "{word}": write {WORDS[word]}' for line, word in occurrences(name)]
    assert not messages, "\n".join(messages)


def test_every_exception_is_needed():
    for name, word in EXCEPTIONS:
        text = (ROOT / name).read_text(encoding="utf-8")
        assert PATTERN.search(text) if word == "*" else word in text.lower(), f"{name}: {word}: remove this exception"
