"""TOFU as the studies cut it: twenty authors that a model is taught, of which some are forgotten."""

from collections.abc import Sequence
from pathlib import Path

from expunge.data.records import Record, read_records

AUTHORS, QUESTIONS = 20, 20
CHOICES = ((0, 1, 2, 3), (4, 9, 13, 17), (6, 11, 15, 19))
"""The authors to forget, in the order of the file; the first choice is that of the main table."""
OTHER_LANGUAGES = "cross_lingual"
"""The one attack that asks for another language: reported, not counted among the English ones."""
OTHERS = ("real_authors", "world_facts")


def authors(tofu: Path, forgotten: Sequence[int], questions: int = QUESTIONS) -> tuple[list[Record], list[Record]]:
    """The records to forget and those to keep, of the first so many questions of each author."""
    every = read_records(tofu / "forget10_perturbed.jsonl")
    forget, retain = list[Record](), list[Record]()
    for i in range(AUTHORS):
        (forget if i in forgotten else retain).extend(every[i * QUESTIONS : i * QUESTIONS + questions])
    return forget, retain


def others(tofu: Path) -> dict[str, list[Record]]:
    """Questions about real authors and the world."""
    return {name: read_records(tofu / f"{name}_perturbed.jsonl") for name in OTHERS}
