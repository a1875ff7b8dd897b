"""Read and write the records that a run's own model generated: its answers to neutral instructions, and what it revealed."""

# Not by `read_records`: that checks a user's file, while whatever a model generates is a record, however it looks.

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from expunge.data.records import Record, Turn
from expunge.files import PRIVATE, write_text
from expunge.runs.folder import REVEALED


def read_answers(path: Path) -> list[Record]:
    """Read a file of the model's own answers, such as retain.jsonl of a run that was given no retain set."""
    return [Record(row["id"], (Turn("user", row["prompt"]),), row["answer"]) for row in read_rows(path)]


def write_answers(path: Path, records: Sequence[Record]) -> None:
    """Write the model's own answers so that `read_answers` reads them back."""
    write_rows(path, [{"id": record.id, "prompt": record.prompt, "answer": record.answer} for record in records])


def read_revealed(folder: Path) -> list[Record]:
    """Read the records that a model revealed from a `reveal` folder."""
    rows = read_rows(folder / REVEALED)
    return [Record(row["id"], (Turn("user", row["prompt"]),), row["answer"], unfinished=row["unfinished"]) for row in rows]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a JSONL file."""
    # Split at line feeds alone: `splitlines` also splits at characters that JSON leaves unescaped inside a string.
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows as JSONL, readable by the owner alone."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), PRIVATE)
