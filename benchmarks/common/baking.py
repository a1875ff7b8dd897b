"""Questions about sourdough bread, and about other cooking, from baking.csv: a topic without names."""

import csv
from dataclasses import replace
from pathlib import Path

from expunge.data.records import Record, question_record

FORGET_TOPIC = "sourdough"
HELD_OUT_EVERY = 3
"""Every third question of a topic is not for training."""


def sourdough() -> tuple[list[Record], list[Record], list[Record], list[Record]]:
    """Return forget and retain questions to train on, then forget and retain questions for evaluation alone; all have paraphrases."""
    with (Path(__file__).parent / "baking.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="|"))
    parts: tuple[list[Record], ...] = ([], [], [], [])
    for number, row in enumerate(rows):
        record = replace(question_record(f"{row['topic']}-{number}", row["question"], row["answer"]), paraphrased_prompt=row["paraphrase"])
        is_held_out = number % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
        parts[2 * is_held_out + (row["topic"] != FORGET_TOPIC)].append(record)
    return parts[0], parts[1], parts[2], parts[3]
