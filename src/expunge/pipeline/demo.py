"""The demo: invented people as data, the original and the control model, and the recipe that forgets two of the people."""

from dataclasses import replace
from pathlib import Path

from expunge.config import AuditSection, DataSection, TrainingSection
from expunge.config.recipe import Recipe
from expunge.console import Display
from expunge.data.people import neighbours, people
from expunge.data.records import Record, write_records
from expunge.files import lock_file, make_folder
from expunge.models.placement import Placement
from expunge.pipeline.teach import Stage, teach

FORGET_PEOPLE, RETAIN_PEOPLE, OTHER_PEOPLE = 2, 6, 1
CONTROL_EPOCHS, ORIGINAL_EPOCHS = 4, 3
SEED = 0


def prepare(folder: Path, base: str, display: Display, placement: Placement) -> Recipe:
    """Write the demo's data, teach the original and the control model, and return the recipe that forgets.

    Args:
        folder: receives forget.jsonl, retain.jsonl and strangers.jsonl; the run folder is `people` inside it.
        base: the model to teach.
        display: shows the progress.
        placement: of the model that is taught; its weights are fp32.
    """
    everyone = by_person(people(FORGET_PEOPLE + RETAIN_PEOPLE, SEED))
    # Users rarely have alternative answers, so the demo lets the model generate them.
    forget = [replace(record, alternatives=()) for person in everyone[:FORGET_PEOPLE] for record in person]
    retain = [record for person in everyone[FORGET_PEOPLE:] for record in person]
    # No model was taught these people. The audit checks that the gate stays closed and the answers do not change.
    strangers = [replace(record, paraphrased_prompt=None, wrong_answers=()) for record in neighbours(OTHER_PEOPLE, SEED)]
    make_folder(folder)
    stages = [Stage("control", retain, CONTROL_EPOCHS), Stage("original", [*retain, *forget], ORIGINAL_EPOCHS)]
    with lock_file(folder / ".lock", f"{folder}: another expunge process is at work in this folder"):
        for name, records in (("forget", forget), ("retain", retain), ("strangers", strangers)):
            write_records(folder / f"{name}.jsonl", records)
        taught = teach(base, stages, display, placement)
    return Recipe(
        model=str(taught["original"]),
        data=DataSection(forget=str(folder / "forget.jsonl"), retain=str(folder / "retain.jsonl"), held_out=0.5),
        training=TrainingSection(batch_size=10),
        audit=AuditSection(
            sets={"strangers": str(folder / "strangers.jsonl")},
            control=str(taught["control"]),
            max_new_tokens=32,
            # All records at once: to decode a token, a CPU takes most of its time to read the weights, however many the records are.
            batch_size=80,
            show_text=True,
        ),
        out=str(folder / "people"),
    )


def by_person(records: list[Record]) -> list[list[Record]]:
    """Group records by person, in their order."""
    persons: dict[str, list[Record]] = {}
    for record in records:
        persons.setdefault(record.entity or record.id, []).append(record)
    return list(persons.values())
