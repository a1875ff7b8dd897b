"""Records, the units of forget and retain sets: read them from JSONL, CSV, Parquet or the hub, check, write and hash them."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from expunge.data import fields
from expunge.data.fields import Row
from expunge.data.readers import read_rows
from expunge.errors import InputError, quoted
from expunge.files import PRIVATE, write_text


@dataclass(frozen=True)
class Turn:
    """One message before the answer."""

    role: str
    content: str


@dataclass(frozen=True)
class Record:
    """One thing to forget or retain.

    A question with its answer has `turns` (the last one by the user) and an `answer`. A plain `text` has no turns; its `answer` is
    the whole text, and the prompt builder labels the last fifth of its tokens. If `unfinished`, the answer is only the beginning of
    one, and no end of turn follows it.
    """

    id: str
    turns: tuple[Turn, ...]
    answer: str
    paraphrased_prompt: str | None = None
    paraphrased_answer: str | None = None
    wrong_answers: tuple[str, ...] = ()
    alternatives: tuple[str, ...] = ()
    entity: str | None = None
    unfinished: bool = False
    line: int | None = None

    @property
    def prompt(self) -> str:
        """The last message of the user; empty for a plain text."""
        return self.turns[-1].content if self.turns else ""


def question_record(name: str, prompt: str, answer: str) -> Record:
    """Return a record of one question and its answer."""
    return Record(name, (Turn("user", prompt),), answer)


def paraphrased_record(record: Record) -> Record:
    """Return a second record with the paraphrased question and answer, or the original text where a record has no paraphrase."""
    return question_record(f"{record.id}/again", record.paraphrased_prompt or record.prompt, record.paraphrased_answer or record.answer)


def read_records(source: str | Path, field_map: dict[str, str] | None = None, split: str = "train") -> list[Record]:
    """Read and check all records of a source. Nothing is repaired, skipped or converted.

    A row has one of the shapes `prompt` + `answer`, `question` + `answer`, `messages` (of `role` and `content`, the last one is the
    answer) or `text`. The optional fields are `id`, `paraphrased_prompt`, `paraphrased_answer`, `wrong_answers`, `alternatives` and
    `entity`; TOFU's names `paraphrased_question` and `perturbed_answer` are accepted too. An optional field counts as absent if it is
    null, an empty list or an empty CSV cell; an empty text or another type is an error. A record without an `id` gets the id `row-`
    and its line. In CSV, a list is a cell with a JSON list. Other fields, blank lines and a byte order mark are ignored.

    Args:
        source: a .jsonl, .json (lines), .csv or .parquet file, a folder that `datasets` can load, or a hub id
            `name` or `name:config`.
        field_map: record field -> column of the source, such as `{"prompt": "instruction"}`. An empty column means that an optional
            field is not read: `{"id": ""}` ignores a column `id` whose values are not unique.
        split: the split of a folder or hub data set; ignored for a file.

    Raises:
        InputError: the first fault, as `file:line: what is wrong`; for Parquet and data sets the line is the row.
    """
    name, field_map = str(source), field_map or {}
    fields.check_map(name, field_map)
    records: list[Record] = []
    lines: dict[str, int] = {}
    kinds: dict[str, str] = {}
    unused = {field: column for field, column in field_map.items() if column}
    for line, row in read_rows(source, split, fields.list_columns(field_map)):
        where = f"{name}:{line}"
        columns = fields.find_columns(where, row, field_map)
        record = _record(where, line, row, columns, fields.find_shape(where, row, columns, field_map))
        _check_kinds(where, row, columns, kinds)
        if record.id in lines:
            taken = f"id {quoted(record.id)} is taken by line {lines[record.id]}"
            raise InputError(f"{where}: {taken}; make the ids unique, or ignore them with --map id= (in a recipe data.map.id: null)")
        lines[record.id] = line
        unused = {field: column for field, column in unused.items() if field not in columns}
        records.append(record)
    if not records:
        raise InputError(f"{name}:1: there are no records in it")
    for field, column in unused.items():
        raise InputError(f"{name}: no row has the column {quoted(column)} that --map gives for {field}")
    return records


def write_records(path: Path, records: list[Record]) -> None:
    """Write plain texts and records of one question each, atomically, as private JSONL that `read_records` reads back."""
    lines = []
    for record in records:
        values = asdict(record)
        optional = {name: values[name] for name in fields.OPTIONAL if values.get(name)}
        required = {"prompt": record.prompt, "answer": record.answer} if record.turns else {"text": record.answer}
        row = {"id": record.id, **required, **optional}
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    write_text(path, "".join(lines), PRIVATE)


def check_overlap(forget: list[Record], retain: list[Record], forget_name: str, retain_name: str, allow: bool) -> int:
    """Count the retain records that are in the forget set too.

    Two records are the same if their user and assistant turns, or their texts, are the same apart from case and white space. System
    message and answer do not count: to retain a question with another answer still trains against forgetting it.

    Args:
        forget: the forget set.
        retain: the retain set.
        forget_name: the forget file as the user gave it, for the error.
        retain_name: the retain file as the user gave it.
        allow: count overlapping records instead of raising on the first.

    Raises:
        InputError: there is an overlap and it is not allowed.
    """
    in_forget = {_normalised(record): record for record in reversed(forget)}
    overlapping = [record for record in retain if _normalised(record) in in_forget]
    if overlapping and not allow:
        retained, forgotten = overlapping[0], in_forget[_normalised(overlapping[0])]
        common = "record" if _normalised_text(retained.answer) == _normalised_text(forgotten.answer) else "question"
        raise InputError(
            f"{_place(retain_name, retained)}: the same {common} as {_place(forget_name, forgotten)}; "
            "remove one of them, or allow both with `expunge unlearn --allow-overlap`"
        )
    return len(overlapping)


def data_hash(records: list[Record]) -> str:
    """Return the SHA-256 (hex) of the records in their order, as canonical JSON of their `content`."""
    canonical = json.dumps([content(record) for record in records], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def content(record: Record) -> dict[str, Any]:
    """Return the fields of a record that count for hashes: all but its line and an id made from the line."""
    left_out = {"line", "id"} if record.id == _line_id(record.line) else {"line"}
    # Hashes of finished records do not depend on this field.
    left_out |= set() if record.unfinished else {"unfinished"}
    return {field: value for field, value in asdict(record).items() if field not in left_out}


def summary(records: list[Record]) -> dict[str, int | str]:
    """Return counts for `expunge validate`: records, records with a paraphrase, records with wrong answers, and the shape.

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
        *turns, (_, answer) = fields.messages(where, *required[0])
    elif shape == ("text",):
        turns, answer = [], fields.text(where, *required[0])
    else:
        turns, answer = [("user", fields.text(where, *required[0]))], fields.text(where, *required[1])
    return Record(
        id=fields.identifier(where, *given["id"]) if "id" in given else _line_id(line),
        turns=tuple(Turn(role, content) for role, content in turns),
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
        current = fields.kind(row[column])
        previous = kinds.setdefault(field, current)
        if current != previous:
            raise InputError(f"{where}: field {quoted(column)} is {current}, but was {previous} on the lines before")


def _line_id(line: int | None) -> str:
    return f"row-{line}"


def _normalised(record: Record) -> tuple[tuple[str, str], ...]:
    turns = tuple((turn.role, _normalised_text(turn.content)) for turn in record.turns if turn.role != "system")
    return turns or (("text", _normalised_text(record.answer)),)


def _normalised_text(text: str) -> str:
    return " ".join(text.casefold().split())


def _place(name: str, record: Record) -> str:
    return f"{name}:{record.line}" if record.line is not None else f"{name}, record {quoted(record.id)}"


def _shape(record: Record) -> str:
    if not record.turns:
        return "text"
    return "prompt" if len(record.turns) == 1 else "messages"
