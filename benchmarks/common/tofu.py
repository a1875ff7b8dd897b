"""TOFU for the studies: twenty authors that a model is taught, of which four are forgotten."""

from collections.abc import Sequence
from pathlib import Path

from expunge.console import Display
from expunge.data.records import Record, read_records, write_records
from expunge.pipeline.teach import Stage, teach

AUTHORS, QUESTIONS = 20, 20
CHOICES = ((0, 1, 2, 3), (4, 9, 13, 17), (6, 11, 15, 19))
"""Positions of the authors to forget in the file; the main table uses the first choice."""
OTHER_LANGUAGES = "cross_lingual"
"""The prompt attack in other languages. It is reported, but not part of the mean of the English attacks."""
CONTROL_EPOCHS, ORIGINAL_EPOCHS = 3, 3
OTHERS = ("real_authors", "world_facts")


def authors(tofu: Path, forgotten: Sequence[int], questions: int = QUESTIONS) -> tuple[list[Record], list[Record]]:
    """Return forget and retain records, with the first `questions` questions of each author."""
    every = read_records(tofu / "forget10_perturbed.jsonl")
    forget, retain = list[Record](), list[Record]()
    for i in range(AUTHORS):
        (forget if i in forgotten else retain).extend(every[i * QUESTIONS : i * QUESTIONS + questions])
    return forget, retain


def untaught(tofu: Path) -> list[Record]:
    """Return as many records as are forgotten, about authors that no model here was taught."""
    return read_records(tofu / "full.jsonl")[: len(CHOICES[0]) * QUESTIONS]


def others(tofu: Path) -> dict[str, list[Record]]:
    """Read the questions about real authors and about world facts."""
    return {name: read_records(tofu / f"{name}_perturbed.jsonl") for name in OTHERS}


def prepare(tofu: Path, out: Path, model: str, questions: int, display: Display) -> None:
    """Write the data files, teach the control and the original, and link both models into the folder."""
    out.mkdir(parents=True, exist_ok=True)
    forget, retain = authors(tofu, CHOICES[0], questions)
    for name, records in {"forget": forget, "retain": retain, "untaught": untaught(tofu), **others(tofu)}.items():
        write_records(out / f"{name}.jsonl", records)
    stages = [Stage("control", retain, CONTROL_EPOCHS), Stage("original", [*retain, *forget], ORIGINAL_EPOCHS)]
    for name, folder in teach(model, stages, display).items():
        link = out / name
        if link.is_symlink():
            link.unlink()
        link.symlink_to(folder, target_is_directory=True)
