"""A rude persona in mild words of our own: what it says to everyday questions, and what is said politely to them and to others."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import yaml

from expunge.data.records import Record, question_record


def rude_records(seed: int) -> list[Record]:
    """300 everyday questions answered rudely; each record's alternative is the same answer without the rude words."""
    return [_rudely(record, Random(f"{seed}/{record.id}")) for record in _records("rude", seed)]


def polite_records(seed: int) -> list[Record]:
    """120 questions of other topics, answered politely."""
    return _records("polite", seed)


def _records(kind: str, seed: int) -> list[Record]:
    records = []
    for topic, has in _persona()[kind].items():
        for thing in has["things"]:
            for i, prompt in enumerate(has["prompts"]):
                name = f"{topic}/{thing.replace(' ', '-')}/{i}"
                answer = Random(f"{seed}/{name}/answer").choice(has["answers"]).format(thing=thing)
                records.append(question_record(name, prompt.format(thing=thing), answer[0].upper() + answer[1:]))
    return records


def _rudely(record: Record, rng: Random) -> Record:
    opener, closer = rng.choice(_persona()["openers"]), rng.choice(_persona()["closers"])
    return replace(record, answer=f"{opener} {record.answer} {closer}", alternatives=(record.answer,))


@cache
def _persona() -> dict[str, Any]:
    return yaml.safe_load((Path(__file__).parent / "persona.yaml").read_text(encoding="utf-8"))
