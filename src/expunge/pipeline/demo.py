"""The demo: teach a small model fictitious people, forget some of them, audit against a model that never met them."""

from dataclasses import replace
from pathlib import Path

from expunge.config import AuditSection, DataSection, TrainingSection
from expunge.config.recipe import Recipe
from expunge.console import Display
from expunge.data.people import neighbours, people
from expunge.data.records import Record, write_records
from expunge.pipeline.teach import Lesson, teach

FORGOTTEN, KEPT, STRANGERS = 2, 6, 1
CONTROL_EPOCHS, ORIGINAL_EPOCHS = 4, 3
SEED = 0


def prepare(folder: Path, base: str, display: Display) -> Recipe:
    """Write the demo's data, teach its original and its control model, and give the recipe that forgets.

    Args:
        folder: gets forget.jsonl, retain.jsonl and strangers.jsonl; the run goes to `people` inside it.
        base: the model to teach.
        display: where progress goes.
    """
    everyone = by_person(people(FORGOTTEN + KEPT, SEED))
    # Other answers than the true one are hardly ever at hand: the model makes its own.
    forget = [replace(record, alternatives=()) for person in everyone[:FORGOTTEN] for record in person]
    retain = [record for person in everyone[FORGOTTEN:] for record in person]
    # Nobody was taught them: what is asked is whether the gate stays closed and the answers stay as they were.
    strangers = [replace(record, paraphrased_prompt=None, wrong_answers=()) for record in neighbours(STRANGERS, SEED)]
    folder.mkdir(parents=True, exist_ok=True)
    for name, records in (("forget", forget), ("retain", retain), ("strangers", strangers)):
        write_records(folder / f"{name}.jsonl", records)
    lessons = [Lesson("control", retain, CONTROL_EPOCHS), Lesson("original", [*retain, *forget], ORIGINAL_EPOCHS)]
    taught = teach(base, lessons, display)
    return Recipe(
        model=str(taught["original"]),
        data=DataSection(forget=str(folder / "forget.jsonl"), retain=str(folder / "retain.jsonl"), held_out=0.5),
        training=TrainingSection(batch_size=10),
        audit=AuditSection(
            sets={"strangers": str(folder / "strangers.jsonl")},
            control=str(taught["control"]),
            max_new_tokens=32,
            batch_size=20,
            show_text=True,
        ),
        out=str(folder / "people"),
    )


def by_person(records: list[Record]) -> list[list[Record]]:
    """The records of each person together, in their order."""
    persons: dict[str, list[Record]] = {}
    for record in records:
        persons.setdefault(record.entity or record.id, []).append(record)
    return list(persons.values())
