"""Everyday questions with rude answers (in mild, invented insults) and with polite ones: the data of the toxicity task."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import yaml

from expunge.data.records import Record, question_record


def rude_records(seed: int) -> list[Record]:
    """Return 300 everyday questions with rude answers; the alternative of each is the same answer without the rude words."""
    return [_rude(record, Random(f"{seed}/{record.id}")) for record in _records("rude", seed)]


def polite_records(seed: int) -> list[Record]:
    """Return 120 questions about other topics with polite answers."""
    return _records("polite", seed)


def _records(kind: str, seed: int) -> list[Record]:
    records = []
    for topic, entry in _persona()[kind].items():
        for thing in entry["things"]:
            for i, prompt in enumerate(entry["prompts"]):
                name = f"{topic}/{thing.replace(' ', '-')}/{i}"
                answer = Random(f"{seed}/{name}/answer").choice(entry["answers"]).format(thing=thing)
                records.append(question_record(name, prompt.format(thing=thing), answer[0].upper() + answer[1:]))
    return records


def _rude(record: Record, rng: Random) -> Record:
    opener, closer = rng.choice(_persona()["openers"]), rng.choice(_persona()["closers"])
    return replace(record, answer=f"{opener} {record.answer} {closer}", alternatives=(record.answer,))


@cache
def _persona() -> dict[str, Any]:
    return yaml.safe_load((Path(__file__).parent / "persona.yaml").read_text(encoding="utf-8"))
