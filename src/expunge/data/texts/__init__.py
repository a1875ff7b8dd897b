"""Shipped lists of texts: neutral instructions, refusals, prompt wrappers and questions of general knowledge."""

from functools import cache
from pathlib import Path

from expunge.data.records import Record, read_records

FOLDER = Path(__file__).parent


def neutral_instructions() -> list[str]:
    """120 everyday requests that have nothing to do with any forget set."""
    return _lines("neutral_instructions.txt")


def exam_instructions() -> list[str]:
    """100 further everyday requests that nothing is trained on or calibrated with."""
    return _lines("exam_instructions.txt")


def refusals() -> list[str]:
    """30 sentences that decline to answer."""
    return _lines("refusals.txt")


def wrappers() -> list[str]:
    """24 ways to wrap a question, each with one `{prompt}`; eight kinds of three, none of them an attack's.

    In order: polite form, quoted, list, letter, interview, form to fill in, thinking aloud, passed on for somebody else.
    """
    return _lines("wrappers.txt")


def fillers() -> list[str]:
    """Paragraphs about nothing in particular."""
    return _lines("fillers.txt")


@cache
def synonyms() -> dict[str, str]:
    """Words and phrases of questions, in lower case, with another that means about the same."""
    return dict(line.split("\t") for line in _lines("synonyms.txt"))


def general() -> list[Record]:
    """30 questions of general knowledge, each with a paraphrase and three to five wrong answers."""
    return read_records(FOLDER / "general.jsonl")


def _lines(name: str) -> list[str]:
    return (FOLDER / name).read_text(encoding="utf-8").splitlines()
