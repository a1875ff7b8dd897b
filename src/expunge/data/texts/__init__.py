"""Shipped lists of texts: neutral instructions, refusals, what surrounds a question, and questions of general knowledge."""

from functools import cache
from pathlib import Path

import yaml

from expunge.data.records import Record, read_records

FOLDER = Path(__file__).parent


def neutral_instructions() -> list[str]:
    """120 everyday requests that have nothing to do with any forget set."""
    return _lines("neutral_instructions.txt")


def neutral_questions() -> list[str]:
    """80 short questions of general knowledge, none of them among `general`, with a word or two for an answer."""
    return _lines("neutral_questions.txt")


def eval_instructions() -> list[str]:
    """Return 100 further everyday requests; nothing is trained or calibrated on them."""
    return _lines("eval_instructions.txt")


def refusals() -> list[str]:
    """30 sentences that decline to answer."""
    return _lines("refusals.txt")


def wrappers() -> list[str]:
    """24 ways to wrap a question, each with one `{prompt}`; eight kinds of three, none of them an attack's.

    In order: polite form, quoted, list, letter, interview, form to fill in, thinking aloud, passed on for somebody else.
    """
    return _lines("wrappers.txt")


@cache
def context_templates() -> dict[str, list[str]]:
    """Return templates that place a question next to other text, by augmentation; see `context_templates.yaml` for their slots."""
    return yaml.safe_load((FOLDER / "context_templates.yaml").read_text(encoding="utf-8"))


def unrelated_texts() -> list[str]:
    """Return 16 paragraphs on everyday subjects, which gates train on."""
    return _lines("unrelated_texts.txt")


def fillers() -> list[str]:
    """Four further paragraphs about nothing in particular, that nothing is trained on."""
    return _lines("fillers.txt")


@cache
def synonyms() -> dict[str, str]:
    """Words and phrases of questions, in lower case, with another that means about the same."""
    return dict(line.split("\t") for line in _lines("synonyms.txt"))


def general() -> list[Record]:
    """30 questions of general knowledge, each with a paraphrase and three to five wrong answers."""
    return read_records(FOLDER / "general.jsonl")


@cache
def _lines(name: str) -> list[str]:
    return (FOLDER / name).read_text(encoding="utf-8").splitlines()
