"""Read and write the records that a run's own model generated: its answers to neutral instructions, and what it revealed."""

# Not by `read_records`: that checks a user's file, while whatever a model generates is a record, however it looks.

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from expunge.data.records import Record, Turn
from expunge.documents import Closed, read_json_lines
from expunge.errors import ExpungeError
from expunge.files import PRIVATE, file_sha256, remove_file, write_text
from expunge.runs.folder import ALTERNATIVES, FEATURES, NEUTRAL, QUESTIONS, RETAIN, REVEAL, REVEALED, Run


class _Answer(Closed):
    id: str
    prompt: str
    answer: str


class _DocumentQuestion(_Answer):
    document: str


class _Revealed(_Answer):
    unfinished: bool


def generated_once(run: Run, name: str, generate: Callable[[], Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the rows of a file that the run's model generates, at the first call or if the file is damaged since then.

    Args:
        run: its run.json records the file's hash.
        name: of the file in the run folder.
        generate: makes the rows.

    Raises:
        ExpungeError: the file is damaged, and generating it again gives other rows than those that training started with.
    """
    path = run.folder / name
    hashes = _recorded_hashes(run)
    if name in hashes and path.is_file() and file_sha256(path) == hashes[name]:
        return read_rows(path)
    write_rows(path, generate())
    made = file_sha256(path)
    if run.training_started and hashes.get(name, made) != made:
        raise ExpungeError(f"{path}: was damaged, and the model generates other records now; start again with another --out")
    run.update_info(generated={**hashes, name: made})
    return read_rows(path)


def drop_generated(run: Run, name: str) -> None:
    """Delete a file that `generated_once` made, and its hash."""
    remove_file(run.folder / name)
    hashes = _recorded_hashes(run)
    if name in hashes:
        run.update_info(generated={other: sha256 for other, sha256 in hashes.items() if other != name})


def discard_generated(run: Run) -> None:
    """Delete what another model generated in a run folder."""
    for path in (*(run.folder / name for name in (RETAIN, NEUTRAL, ALTERNATIVES, QUESTIONS)), run.folder / REVEAL / FEATURES):
        remove_file(path)


def _recorded_hashes(run: Run) -> dict[str, str]:
    hashes = run.read_info().get("generated")
    return hashes if isinstance(hashes, dict) else {}


def read_answers(path: Path) -> list[Record]:
    """Read a file of the model's own answers, such as retain.jsonl of a run that was given no retain set."""
    return answers([row.model_dump() for row in read_json_lines(path, _Answer)])


def answers(rows: Sequence[dict[str, Any]]) -> list[Record]:
    """Return the records of rows that `answer_rows` made."""
    return [Record(row["id"], (Turn("user", row["prompt"]),), row["answer"]) for row in rows]


def answer_rows(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return the rows of the model's own answers, as `read_answers` reads them back."""
    return [{"id": record.id, "prompt": record.prompt, "answer": record.answer} for record in records]


def document_question_rows(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return the rows of questions about documents, as `read_document_questions` reads them back."""
    return [{**row, "document": record.document} for row, record in zip(answer_rows(records), records, strict=True)]


def read_document_questions(path: Path) -> list[Record]:
    """Read the questions about documents that a run's model wrote."""
    rows = read_json_lines(path, _DocumentQuestion)
    return [Record(row.id, (Turn("user", row.prompt),), row.answer, document=row.document) for row in rows]


def read_revealed(folder: Path) -> list[Record]:
    """Read the records that a model revealed from a `reveal` folder."""
    rows = read_json_lines(folder / REVEALED, _Revealed)
    return [Record(row.id, (Turn("user", row.prompt),), row.answer, unfinished=row.unfinished) for row in rows]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a JSONL file."""
    return read_json_lines(path, dict[str, Any])


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows as JSONL, readable by the owner alone."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), PRIVATE)
