"""Records: what is to be forgotten or kept, read strictly from JSONL, CSV, Parquet or the hub."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from expunge.data import fields
from expunge.data.fields import Row, quoted
from expunge.data.readers import read_rows
from expunge.errors import InputError
from expunge.files import write_text


@dataclass(frozen=True)
class Turn:
    """One message before the answer."""

    role: str
    content: str


@dataclass(frozen=True)
class Record:
    """One thing to forget or keep.

    A question with its answer has `turns` (the last one the user's) and an `answer`. A plain `text` has no turns; its
    `answer` is the whole text, of which the prompt builder labels the last fifth of the tokens. An answer that `goes_on` is the
    beginning of one: no end of turn follows it.
    """

    id: str
    turns: tuple[Turn, ...]
    answer: str
    paraphrased_prompt: str | None = None
    paraphrased_answer: str | None = None
    wrong_answers: tuple[str, ...] = ()
    alternatives: tuple[str, ...] = ()
    entity: str | None = None
    goes_on: bool = False
    line: int | None = None

    @property
    def prompt(self) -> str:
        """The last thing the user says, or nothing for a plain text."""
        return self.turns[-1].content if self.turns else ""


def question_record(name: str, prompt: str, answer: str) -> Record:
    """Return a record of one question and its answer."""
    return Record(name, (Turn("user", prompt),), answer)


def paraphrased_record(record: Record) -> Record:
    """Return a second record with the paraphrased question and answer, or the original text where a record has no paraphrase."""
    return question_record(f"{record.id}/again", record.paraphrased_prompt or record.prompt, record.paraphrased_answer or record.answer)


def read_records(source: str | Path, field_map: dict[str, str] | None = None, split: str = "train") -> list[Record]:
    """Read and check all records of a source; nothing is repaired, skipped or cast.

    A row has one of the shapes `prompt` + `answer`, `question` + `answer`, `messages` (of `role` and `content`, the last
    one the answer) or `text`. The optional fields are `id`, `paraphrased_prompt`, `paraphrased_answer`, `wrong_answers`,
    `alternatives` and `entity`, with TOFU's `paraphrased_question` and `perturbed_answer` as other names. An optional
    field that is null, an empty list or an empty CSV cell counts as absent; an empty text or another type is an error.
    Without an `id` a record is called `row-` and its line. In CSV a list is a cell with a JSON list. Other fields, blank
    lines and a byte order mark are ignored.

    Args:
        source: a .jsonl, .json (lines), .csv or .parquet file, a folder that `datasets` can load, or a hub id
            `name` or `name:config`.
        field_map: our field -> their column, such as `{"prompt": "instruction"}`.
        split: the split of a folder or hub data set; a file has none.

    Raises:
        InputError: the first fault, as `file:line: what is wrong`; the line is the row for Parquet and data sets.
    """
    name, field_map = str(source), field_map or {}
    fields.check_map(name, field_map)
    records: list[Record] = []
    lines: dict[str, int] = {}
    kinds: dict[str, str] = {}
    unused = dict(field_map)
    for line, row in read_rows(source, split, fields.list_columns(field_map)):
        where = f"{name}:{line}"
        columns = fields.find_columns(where, row, field_map)
        record = _record(where, line, row, columns, fields.find_shape(where, row, columns, field_map))
        _check_kinds(where, row, columns, kinds)
        if record.id in lines:
            raise InputError(f"{where}: id {quoted(record.id)} is taken by line {lines[record.id]}")
        lines[record.id] = line
        unused = {field: column for field, column in unused.items() if field not in columns}
        records.append(record)
    if not records:
        raise InputError(f"{name}:1: there are no records in it")
    for field, column in unused.items():
        raise InputError(f"{name}: no row has the column {quoted(column)} that --map gives for {field}")
    return records


def write_records(path: Path, records: list[Record]) -> None:
    """Write plain texts and records of one question each as JSONL that `read_records` reads back, whole or not at all."""
    lines = []
    for record in records:
        said = asdict(record)
        optional = {name: said[name] for name in fields.OPTIONAL if said.get(name)}
        said_of_it = {"prompt": record.prompt, "answer": record.answer} if record.turns else {"text": record.answer}
        row = {"id": record.id, **said_of_it, **optional}
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    write_text(path, "".join(lines))


def check_overlap(forget: list[Record], retain: list[Record], forget_name: str, retain_name: str, allow: bool) -> int:
    """Count the retain records that are also to be forgotten.

    Two records are the same if their user and assistant turns are, or their texts, whatever the case, the white space,
    the system message and the answer: a question kept with another answer still trains against forgetting it.

    Args:
        forget: records to forget.
        retain: records to keep.
        forget_name: the forget file, as the user gave it, for the error.
        retain_name: the retain file, likewise.
        allow: count overlapping records instead of raising on the first.

    Raises:
        InputError: there is an overlap and it is not allowed.
    """
    seen = {_same(record): record for record in reversed(forget)}
    overlapping = [record for record in retain if _same(record) in seen]
    if overlapping and not allow:
        kept, forgotten = overlapping[0], seen[_same(overlapping[0])]
        alike = "record" if _plain(kept.answer) == _plain(forgotten.answer) else "question"
        raise InputError(
            f"{_place(retain_name, kept)}: the same {alike} as {_place(forget_name, forgotten)}; "
            "remove one of them (`expunge unlearn --allow-overlap` keeps both)"
        )
    return len(overlapping)


def data_hash(records: list[Record]) -> str:
    """SHA-256 (hex) of what the records say, in their order, as canonical JSON."""
    canonical = json.dumps([content(record) for record in records], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def content(record: Record) -> dict[str, Any]:
    """What a record says, as plain values for hashes: without its line and an id that is only its line."""
    unsaid = {"line", "id"} if record.id == _line_id(record.line) else {"line"}
    # What most records are need not be said.
    unsaid |= set() if record.goes_on else {"goes_on"}
    return {field: value for field, value in asdict(record).items() if field not in unsaid}


def summary(records: list[Record]) -> dict[str, int | str]:
    """Counts for `expunge validate`: rows, rows with a paraphrase, rows with wrong answers, and the shape.

    The shape is `prompt` (one question), `messages` (several turns, or a system message), `text`, or `mixed`.
    """
    shapes = {_shape(record) for record in records}
    return {
        "rows": len(records),
        "paraphrases": sum(record.paraphrased_prompt is not None or record.paraphrased_answer is not None for record in records),
        "wrong_answers": sum(bool(record.wrong_answers) for record in records),
        "shape": shapes.pop() if len(shapes) == 1 else "mixed",
    }


def _record(where: str, line: int, row: Row, columns: dict[str, str], shape: tuple[str, ...]) -> Record:
    given = {field: (column, row[column]) for field, column in columns.items() if row[column] is not None}

    def text(field: str) -> str | None:
        return fields.text(where, *given[field]) if field in given else None

    def texts(field: str) -> tuple[str, ...]:
        return fields.texts(where, *given[field]) if field in given else ()

    required = [(columns[field], row[columns[field]]) for field in shape]
    if shape == ("messages",):
        *said, (_, answer) = fields.messages(where, *required[0])
    elif shape == ("text",):
        said, answer = [], fields.text(where, *required[0])
    else:
        said, answer = [("user", fields.text(where, *required[0]))], fields.text(where, *required[1])
    return Record(
        id=fields.identifier(where, *given["id"]) if "id" in given else _line_id(line),
        turns=tuple(Turn(role, content) for role, content in said),
        answer=answer,
        paraphrased_prompt=text("paraphrased_prompt"),
        paraphrased_answer=text("paraphrased_answer"),
        wrong_answers=texts("wrong_answers"),
        alternatives=texts("alternatives"),
        entity=text("entity"),
        line=line,
    )


def _check_kinds(where: str, row: Row, columns: dict[str, str], kinds: dict[str, str]) -> None:
    for field, column in columns.items():
        if row[column] is None:
            continue
        now = fields.kind(row[column])
        before = kinds.setdefault(field, now)
        if now != before:
            raise InputError(f"{where}: field {quoted(column)} is {now}, but was {before} on the lines before")


def _line_id(line: int | None) -> str:
    return f"row-{line}"


def _same(record: Record) -> tuple[tuple[str, str], ...]:
    said = tuple((turn.role, _plain(turn.content)) for turn in record.turns if turn.role != "system")
    return said or (("text", _plain(record.answer)),)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _place(name: str, record: Record) -> str:
    return f"{name}:{record.line}" if record.line is not None else f"{name}, record {quoted(record.id)}"


def _shape(record: Record) -> str:
    if not record.turns:
        return "text"
    return "prompt" if len(record.turns) == 1 else "messages"
