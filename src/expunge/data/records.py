"""Records, the units of forget and retain sets: read them from files or the hub, check, write and hash them."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from expunge.data import values
from expunge.data.columns import lookup, missing_parts
from expunge.data.conversations import messages
from expunge.data.document_files import documents, is_documents
from expunge.data.fields import OPTIONAL, FieldMap, Options, find_columns, find_shape
from expunge.data.readers import read_rows
from expunge.data.values import Row
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
    the whole text. If `unfinished`, the answer is only the beginning of one, and no end of turn follows it.

    `expunge.data.long_records` cuts long texts and answers into several records. Of each of these the first `prompt_chars` characters
    of `answer` belong to the prompt. `document` is the name of the text that a passage is cut from, or that a question is about.
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
    prompt_chars: int | None = None
    document: str | None = None
    line: int | None = None

    @property
    def prompt(self) -> str:
        """The last message of the user; empty for a plain text."""
        return self.turns[-1].content if self.turns else ""

    @property
    def is_question(self) -> bool:
        """Whether it is a question with its answer: no text, and no continuation of an answer."""
        return bool(self.turns) and self.prompt_chars is None

    @property
    def is_passage(self) -> bool:
        """Whether it is a passage that was cut from a text: a prompt and its continuation."""
        return not self.turns and self.prompt_chars is not None

    @property
    def given(self) -> str:
        """The beginning of the answer that belongs to the prompt; empty for a question with its whole answer."""
        return self.answer[: self.prompt_chars or 0]

    @property
    def expected(self) -> str:
        """The answer without what belongs to the prompt."""
        return self.answer[self.prompt_chars or 0 :]


def question_record(name: str, prompt: str, answer: str) -> Record:
    """Return a record of one question and its answer."""
    return Record(name, (Turn("user", prompt),), answer)


def paraphrased_record(record: Record) -> Record:
    """Return a second record with the paraphrased question and answer, or the original text where a record has no paraphrase."""
    return question_record(f"{record.id}/again", record.paraphrased_prompt or record.prompt, record.paraphrased_answer or record.answer)


def read_records(
    source: str | Path, field_map: dict[str, str] | None = None, split: str = "train", options: Options | None = None
) -> list[Record]:
    """Read and check all records of a source. Nothing is repaired, skipped or converted.

    A row has one of the shapes `prompt` + `answer`, `messages` (the last one is the answer) or `text`, under the names of the page
    "Records" of the documentation. The optional fields are `id`, `paraphrased_prompt`, `paraphrased_answer`, `wrong_answers`,
    `alternatives` and `entity`. An optional field counts as absent if it is null, an empty list or an empty CSV cell; an empty text or
    another type is an error. A record without an `id` gets the id `row-` and its line. In CSV, a list is a cell with a JSON list. Other
    fields, blank lines and a byte order mark are ignored.

    A file of text, Markdown or HTML, or a folder of them, is read as documents: one record each, with the name of the document as its id.

    Args:
        source: a file that `expunge.data.readers` or `expunge.data.document_files` reads, a folder of documents or one that `datasets`
            can load, or a hub id `name` or `name:config`.
        field_map: record field -> column of the source, such as `{"prompt": "instruction"}`; columns may be joined and lead into lists
            and objects, see `expunge.data.columns`. An empty column means that an optional field is not read: `{"id": ""}` ignores a
            column `id` whose values are not unique.
        split: the split of a folder or hub data set; ignored for a file.
        options: the options of the command line that errors suggest.

    Raises:
        InputError: the first fault, as `file:line: what is wrong`; for Parquet and data sets the line is the row.
    """
    name, fields = str(source), FieldMap(field_map or {}, options or Options())
    fields.check(name)
    if is_documents(source):
        return [Record(title, (), text, document=title) for title, text in documents(source)]
    records: list[Record] = []
    lines: dict[str, int] = {}
    kinds: dict[str, str] = {}
    unused = {field: {column} | set(column.split("+")) for field, column in fields.columns.items() if column}
    for line, row in read_rows(source, split, fields.list_columns(), fields.options.split):
        where = f"{name}:{line}"
        columns = find_columns(where, row, fields)
        record = _record(where, line, row, columns, find_shape(where, row, columns, fields))
        _check_kinds(where, row, columns, kinds)
        if record.id in lines:
            taken = f"id {quoted(record.id)} is taken by line {lines[record.id]}"
            raise InputError(f"{where}: {taken}; make the ids unique, or ignore them with --no-ids (in a recipe data.map.id: null)")
        lines[record.id] = line
        unused = {field: parts & missing_parts(row, fields.columns[field]) for field, parts in unused.items()} if unused else {}
        unused = {field: parts for field, parts in unused.items() if parts}
        records.append(record)
    if not records:
        raise InputError(f"{name}:1: there are no records in it")
    for field, parts in unused.items():
        raise InputError(f"{name}: no row has the column {quoted(min(parts))} that {fields.options.map} gives for {field}")
    return records


def write_records(path: Path, records: list[Record]) -> None:
    """Write plain texts and records of one question each, atomically, as private JSONL that `read_records` reads back."""
    lines = []
    for record in records:
        values = asdict(record)
        optional = {name: values[name] for name in OPTIONAL if values.get(name)}
        required = {"prompt": record.prompt, "answer": record.answer} if record.turns else {"text": record.answer}
        row = {"id": record.id, **required, **optional}
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    write_text(path, "".join(lines), PRIVATE)


def data_hash(records: list[Record]) -> str:
    """Return the SHA-256 (hex) of the records in their order, as canonical JSON of their `content`."""
    canonical = json.dumps([content(record) for record in records], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def content(record: Record) -> dict[str, Any]:
    """Return the fields of a record that count for hashes: all but its line and an id made from the line."""
    left_out = {"line", "id"} if record.id == _line_id(record.line) else {"line"}
    # Hashes of records of one question or one short text do not depend on these fields.
    left_out |= {field for field in ("unfinished", "prompt_chars", "document") if not getattr(record, field)}
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
    given = {field: (column, value) for field, column in columns.items() if (value := lookup(row, column)) is not None}

    def text(field: str) -> str | None:
        return values.text(where, *given[field]) if field in given else None

    def texts(field: str) -> tuple[str, ...]:
        return values.texts(where, *given[field]) if field in given else ()

    required = [(columns[field], lookup(row, columns[field])) for field in shape]
    if shape == ("messages",):
        *turns, (_, answer) = messages(where, *required[0])
    elif shape == ("text",):
        turns, answer = [], values.text(where, *required[0])
    else:
        _check_no_choice(where, row, *required[1])
        turns, answer = [("user", values.text(where, *required[0]))], values.text(where, *required[1])
    return Record(
        id=values.identifier(where, *given["id"]) if "id" in given else _line_id(line),
        turns=tuple(Turn(role, content) for role, content in turns),
        answer=answer,
        paraphrased_prompt=text("paraphrased_prompt"),
        paraphrased_answer=text("paraphrased_answer"),
        wrong_answers=texts("wrong_answers"),
        alternatives=texts("alternatives"),
        entity=text("entity"),
        line=line,
    )


def _check_no_choice(where: str, row: Row, column: str, answer: object) -> None:
    if isinstance(answer, int) and isinstance(row.get("choices"), list):
        what = f"field {quoted(column)} is the number of a choice: multiple-choice questions are no records"
        raise InputError(f"{where}: {what}; name the file under audit.questions, and check it with `expunge validate --questions`")


def _check_kinds(where: str, row: Row, columns: dict[str, str], kinds: dict[str, str]) -> None:
    for field, column in columns.items():
        value = lookup(row, column)
        if value is None:
            continue
        current = values.kind(value)
        previous = kinds.setdefault(field, current)
        if current != previous:
            raise InputError(f"{where}: field {quoted(column)} is {current}, but was {previous} on the lines before")


def _line_id(line: int | None) -> str:
    return f"row-{line}"


def _shape(record: Record) -> str:
    if not record.turns:
        return "text"
    return "prompt" if len(record.turns) == 1 else "messages"
