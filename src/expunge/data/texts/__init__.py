"""Shipped lists of texts: neutral instructions, refusals, prompt wrappers and questions of general knowledge."""

from pathlib import Path

from expunge.data.records import Record, read_records

_FOLDER = Path(__file__).parent


def neutral_instructions() -> list[str]:
    """120 everyday requests that have nothing to do with any forget set."""
    return _lines("neutral_instructions.txt")


def refusals() -> list[str]:
    """30 sentences that decline to answer."""
    return _lines("refusals.txt")


def wrappers() -> list[str]:
    """24 ways to wrap a question, each with one `{prompt}`; eight kinds of three.

    In order: prefix injection, role play, suffix, background hint, polite form, mixed with another question, quoted, list.
    """
    return _lines("wrappers.txt")


def general() -> list[Record]:
    """30 questions of general knowledge, each with a paraphrase and three to five wrong answers."""
    return read_records(_FOLDER / "general.jsonl")


def _lines(name: str) -> list[str]:
    return (_FOLDER / name).read_text(encoding="utf-8").splitlines()
