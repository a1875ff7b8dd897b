"""Shipped texts: neutral instructions, refusals, wrappers and contexts for questions, and questions of general knowledge."""

from functools import cache
from pathlib import Path

import yaml

from expunge.data.records import Record, read_records

FOLDER = Path(__file__).parent


def neutral_instructions() -> list[str]:
    """Return 120 everyday requests that have nothing to do with any forget set."""
    return _lines("neutral_instructions.txt")


def neutral_questions() -> list[str]:
    """Return 80 short questions of general knowledge with answers of a word or two; none of them is in `general`."""
    return _lines("neutral_questions.txt")


def eval_instructions() -> list[str]:
    """Return 100 further everyday requests; nothing is trained or calibrated on them."""
    return _lines("eval_instructions.txt")


def refusals() -> list[str]:
    """Return 30 sentences that decline to answer."""
    return _lines("refusals.txt")


def wrappers() -> list[str]:
    """Return 24 ways to wrap a question, each with one `{prompt}`: three of each of eight kinds. No attack uses them.

    In order: polite form, quotation, list, letter, interview, form to fill in, thinking aloud, question on behalf of another person.
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
    """Return four further paragraphs on everyday subjects; nothing is trained on them."""
    return _lines("fillers.txt")


@cache
def synonyms() -> dict[str, str]:
    """Return {word or phrase of a question, in lower case: another one with about the same meaning}."""
    return dict(line.split("\t") for line in _lines("synonyms.txt"))


def general() -> list[Record]:
    """Return 30 questions of general knowledge, each with a paraphrase and three to five wrong answers."""
    return read_records(FOLDER / "general.jsonl")


@cache
def _lines(name: str) -> list[str]:
    return (FOLDER / name).read_text(encoding="utf-8").splitlines()
