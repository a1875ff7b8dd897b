"""Fields of a record: find the column of each field and the shape of a row."""

import shlex
from dataclasses import dataclass

from expunge.data.columns import MISSING, bases, lookup
from expunge.data.suggestions import answer_beside, suggest
from expunge.data.values import Row, fail
from expunge.errors import InputError, quoted

SHAPES = (("prompt", "answer"), ("messages",), ("text",))
OPTIONAL = ("id", "paraphrased_prompt", "paraphrased_answer", "wrong_answers", "alternatives", "entity")
FIELDS = (*(field for shape in SHAPES for field in shape), *OPTIONAL)
LIST_FIELDS = ("messages", "wrong_answers", "alternatives")
# Column names of TOFU (Maini et al., 2024, arXiv 2401.06121), of TRL's data sets and of ShareGPT, accepted without --map.
ALIASES = {
    "prompt": "question",
    "answer": "completion",
    "messages": "conversations",
    "paraphrased_prompt": "paraphrased_question",
    "wrong_answers": "perturbed_answer",
}
ALPACA = {"prompt": "instruction+input", "answer": "output"}
"""Columns of Alpaca (Taori et al., 2023), accepted without --map in a row that has an instruction and an output."""


@dataclass(frozen=True)
class Options:
    """The options of the command line that an error suggests for a file."""

    map: str = "--map"
    split: str = "--split"

    def mapping(self, columns: dict[str, str]) -> str:
        """Return the options for these columns: `--map prompt=query --map answer=reply`."""
        return " ".join(f"{self.map} {shlex.quote(f'{field}={column}')}" for field, column in columns.items())


FORGET_OPTIONS = Options("--forget-map", "--forget-split")
RETAIN_OPTIONS = Options("--retain-map", "--retain-split")
"""Options for one file of two, which may have other columns than the other one."""


@dataclass(frozen=True)
class FieldMap:
    """Which column each field is read from, and how an error names the option for it.

    Attributes:
        columns: field -> column as the user mapped it; an empty column means that an optional field is not read.
        options: the options that errors suggest.
    """

    columns: dict[str, str]
    options: Options = Options()

    def check(self, source: str) -> None:
        """Raise `InputError` if records have no such field, or a required field is mapped to nothing."""
        for field, column in self.columns.items():
            pair = self.options.mapping({field: column})
            if field not in FIELDS:
                raise InputError(f"{source}: {pair}: no field {quoted(field)}; the fields are {', '.join(FIELDS)}")
            if not column and field not in OPTIONAL:
                nothing = f"{pair} names no column; only an optional field can be ignored"
                raise InputError(f"{source}: {nothing}: {', '.join(OPTIONAL)}")

    def list_columns(self) -> set[str]:
        """Return the columns whose CSV cells may hold a JSON list."""
        plain = {column for field in LIST_FIELDS for column in self.candidates(field)}
        return plain.union(*(bases(column) - {column} for column in self.columns.values() if "[" in column))

    def candidates(self, field: str) -> list[str]:
        """Return the columns that a field may be read from. A mapped column is read for its mapped field only."""
        if field in self.columns:
            return [self.columns[field]] if self.columns[field] else []
        names = [field, ALIASES[field]] if field in ALIASES else [field]
        return [column for column in names if column not in self.columns.values()]


def find_columns(where: str, row: Row, fields: FieldMap) -> dict[str, str]:
    """Return field -> column for the fields of this row.

    Raises:
        InputError: there are two columns for one field (`prompt` and `question`).
    """
    columns = {}
    for field in FIELDS:
        present = [column for column in fields.candidates(field) if lookup(row, column) is not MISSING]
        if len(present) > 1:
            first, second = map(quoted, present)
            fail(where, f"fields {first} and {second} mean the same; say which with {fields.options.mapping({field: present[0]})}")
        if present:
            columns[field] = present[0]
    if "instruction" in row and "output" in row and not {"prompt", "answer"} & (columns.keys() | fields.columns.keys()):
        columns |= ALPACA
    return columns


def find_shape(where: str, row: Row, columns: dict[str, str], fields: FieldMap) -> tuple[str, ...]:
    """Return the shape of the row: `("prompt", "answer")`, `("messages",)` or `("text",)`.

    A map that names a field of a shape chooses that shape.

    Raises:
        InputError: the row has fields of two shapes, or a field of its shape is missing.
    """
    possible = [shape for shape in SHAPES if any(field in fields.columns for field in shape)] or list(SHAPES)
    present = [shape for shape in possible if any(field in columns for field in shape)]
    if len(present) > 1:
        first, second = (next(field for field in shape if field in columns) for shape in present[:2])
        both = f"{quoted(columns[first])} and {quoted(columns[second])}"
        fail(where, f"fields {both} are two shapes of record; say which with {fields.options.mapping({second: columns[second]})}")
    shape = (present or possible)[0]
    missing = [field for field in shape if field not in columns]
    if missing:
        _fail_missing(where, row, columns, fields, missing, bool(present) or len(possible) == 1)
    if shape == ("text",) and "text" not in fields.columns:
        _check_alone(where, row, columns, fields)
    return shape


def _fail_missing(where: str, row: Row, columns: dict[str, str], fields: FieldMap, missing: list[str], is_sure: bool) -> None:
    mapped = [field for field in missing if field in fields.columns]
    if mapped:
        column = fields.columns[mapped[0]]
        fail(where, f"field {quoted(column)} is missing ({fields.options.mapping({mapped[0]: column})})")
    possible = missing if is_sure else [field for shape in SHAPES for field in shape]
    found = suggest(possible, row, _spare(row, columns))
    others = "" if is_sure else ' (or "messages", or "text")'
    hint = f"perhaps {fields.options.mapping(found)}" if found else f"name its column with {fields.options.map} {missing[0]}=COLUMN"
    fail(where, f"field {quoted(missing[0])} is missing{others}; {hint}")


def _check_alone(where: str, row: Row, columns: dict[str, str], fields: FieldMap) -> None:
    """Refuse a text beside which a column looks like the answer to it, as in KnowUnDo (Tian et al., 2024, arXiv 2407.01920)."""
    text = columns["text"]
    if (answer := answer_beside(row, _spare(row, columns))) is not None:
        question = fields.options.mapping({"prompt": text, "answer": answer})
        alone = fields.options.mapping({"text": text})
        fail(where, f"fields {quoted(text)} and {quoted(answer)} may be a question and its answer: give {question} (or {alone})")


def _spare(row: Row, columns: dict[str, str]) -> list[str]:
    used = set().union(*(bases(column) for column in columns.values()))
    return [column for column in row if column not in used]
