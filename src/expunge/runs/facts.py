"""The schemas of run.json, audit.json and gate.json. Anybody may have written them: a field of another form is one sentence."""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from expunge.documents import Closed, checked, read_json
from expunge.edits.manifest import MANIFEST
from expunge.errors import Damaged, InputError, quoted
from expunge.files import file_sha256
from expunge.models.finite import json_text

_HEX = r"^[0-9a-f]{64}$"
Hex = Field(pattern=_HEX)
HASH = "sha256"
"""Field of run.json: the hash of all its other fields, so that a changed threshold, round or hash is noticed."""
_ADVICE = "train the run again: expunge run RECIPE --out ANOTHER_FOLDER"


class _Parts(Closed):
    sha256: str = Hex
    parts: dict[str, str]


class _Model(_Parts):
    name: str
    system_message: str | None = None
    template_args: str | None = None
    quantise: Literal["nf4", "int8"] | None = None
    stored_in: str | None = None


class _Cut(Closed):
    texts: int = Field(ge=0)
    passages: int = Field(ge=0)
    answers: int = Field(ge=0)
    continuations: int = Field(ge=0)
    prompts: int = Field(ge=0)


class _Questions(Closed):
    passages: int = Field(ge=0)
    known: int = Field(ge=0)


class _Forget(Closed):
    source: str
    sha256: str = Hex
    rows: int = Field(ge=0)
    cut: _Cut | None = None
    document_questions: _Questions | None = None


class _RetainRows(Closed):
    trained: int = Field(ge=0)
    calibration: int = Field(ge=0)
    held_out: int = Field(ge=0)


class _Retain(Closed):
    source: str
    sha256: str = Hex
    rows: _RetainRows
    cut: _Cut | None = None


class _Language(Closed):
    code: Literal["en", "de", "fr", "es", "pt", "ru", "zh", "ja", "ar", "hi"]
    rule: str


class _Data(Closed):
    forget: _Forget
    retain: _Retain
    language: _Language | None = None
    max_tokens: int | None = Field(None, ge=1)


class _AnswerGate(Closed):
    calibration_n: int = Field(ge=0)
    alpha: float = Field(ge=0, le=1)
    guaranteed: bool
    rate_bound: float = Field(ge=0, le=1)
    calibration_rate: float = Field(ge=0, le=1)
    forget_coverage: float = Field(ge=0, le=1)


class _Gate(Closed):
    blocks: list[int]
    gate: str = ""
    pool: str = ""
    threshold: float
    calibration_n: int = Field(ge=0)
    alpha: float = Field(ge=0, le=1)
    guaranteed: bool
    rate_bound: float = Field(ge=0, le=1)
    calibration_rate: float = Field(ge=0, le=1)
    lowered: bool
    in_variants: bool = True
    recall: float | None = Field(None, ge=0, le=1)
    recall_n: int = Field(0, ge=0)
    forget_coverage: float = Field(ge=0, le=1)
    answers: _AnswerGate | None = None


class _Placement(Closed):
    device: str
    dtype: str


class NextEdit(Closed):
    """The edit that an undo is about to put in place.

    Attributes:
        manifest: SHA-256 of its manifest.
        written: when the undo wrote it; UTC, to the microsecond.
        round: the round of the release after which the model was as this edit makes it.
    """

    manifest: str = Hex
    written: str
    round: int = Field(ge=0)


class EditRecord(Closed):
    """The record of a run's edit.

    Attributes:
        manifest: SHA-256 of the edit's manifest.
        written: when training, or an undo, wrote the edit; UTC, to the microsecond.
        next: what an undo records before it exchanges the folder, in case it ends between the exchange and the next record.
    """

    manifest: str = Hex
    written: str
    next: NextEdit | None = None


class RunJson(Closed):
    """All fields of run.json. A run that was interrupted has some of them."""

    status: Literal["training", "trained"]
    created: str = ""
    versions: dict[str, str] = Field(default_factory=dict)
    model: _Model | None = None
    placement: _Placement | None = None
    data: _Data | None = None
    gate: _Gate | None = None
    edit: EditRecord | None = None
    seconds: float = Field(0.0, ge=0)
    round: int | None = Field(None, ge=0)
    rounds: dict[str, str] = Field(default_factory=dict)
    measured: dict[str, str] = Field(default_factory=dict)
    generated: dict[str, str] = Field(default_factory=dict)
    audited: str = ""
    audit_placement: _Placement | None = None
    control: str | None = None
    control_model: _Parts | None = None
    sha256: str | None = Field(None, pattern=_HEX)

    @field_validator("model", "placement", "audit_placement", "data", "gate", "edit", "round", mode="before")
    @classmethod
    def _is_left_out_or_given(cls, given: object) -> object:
        if given is None:
            raise ValueError("must not be null")
        return given


class Figure(Closed):
    """A number, the count of records behind it, and its 95 % interval if it has one."""

    value: float
    n: int = Field(ge=0)
    ci95: tuple[float, float] | None


Figures = dict[str, dict[str, Figure]]
"""{set: {metric: figure}}."""


class AuditJson(Closed):
    """All fields of audit.json: the metrics of each model."""

    original: Figures
    unlearned: Figures
    control: Figures | None = None


class _GateGroup(Figure):
    set: str
    variant: str
    target: bool


class _Prompt(Closed):
    set: str
    variant: str
    target: bool
    id: str
    gate: float
    open: bool
    tokens: list[tuple[str, float]]


class GateJson(Closed):
    """All fields of gate.json."""

    evaluated: str
    threshold: float
    groups: list[_GateGroup] = Field(min_length=1)
    auroc: Figure
    worst: list[_Prompt]


class Facts(dict[str, Any]):
    """The fields of a run.json, checked. Reading one that is missing is an error for the user."""

    def __init__(self, path: Path, fields: dict[str, Any]):
        super().__init__(fields)
        self.path = path

    def __missing__(self, name: str) -> Any:
        advice = "repeat the command that started the run, or restore the file from a copy"
        raise InputError(f"{self.path}: has no field {quoted(name)}; {advice}")

    def with_facts(self, **facts: Any) -> "Facts":
        """Return the fields with some added or replaced."""
        return Facts(self.path, {**self, **facts})


def read_facts(path: Path, edit: Path | None = None) -> Facts:
    """Read a run.json, without its hash.

    Args:
        path: of the file.
        edit: the folder of the run's edit. Facts of an undo that ended after it had exchanged this folder are completed.

    Raises:
        InputError: it cannot be read, or a field is unknown or of another form.
        Damaged: its hash is not that of its fields.
    """
    fields = _read_checked(path, RunJson)
    recorded = fields.pop(HASH, None)
    if recorded is None:
        raise Damaged(f"{path}: has no field {HASH}, because an older version of expunge made this run or it was changed; {_ADVICE}")
    if recorded != _sha256(fields):
        raise Damaged(f"{path}: was changed after expunge wrote it; restore it from a copy, or {_ADVICE}")
    return Facts(path, fields if edit is None else _completed(fields, edit / MANIFEST))


def _completed(fields: dict[str, Any], manifest: Path) -> dict[str, Any]:
    """Return the facts with the announced edit as the recorded one, if its manifest is the one in the folder."""
    announced = (fields.get("edit") or {}).get("next")
    if announced is None or not manifest.is_file() or file_sha256(manifest) != announced["manifest"]:
        return fields
    edit = {name: announced[name] for name in ("manifest", "written")}
    return {**fields, "edit": edit, "round": announced["round"]}


def facts_text(facts: Facts) -> str:
    """Return the text of a run.json: the facts with their hash."""
    fields = json.loads(json_text(facts, str(facts.path)))
    return json.dumps({**fields, HASH: _sha256(fields)}, indent=1) + "\n"


def _sha256(fields: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def read_summary(path: Path) -> dict[str, Any]:
    """Read an audit.json; errors are those of `read_facts`."""
    return _read_checked(path, AuditJson)


def read_gate(path: Path) -> dict[str, Any]:
    """Read a gate.json; errors are those of `read_facts`."""
    return _read_checked(path, GateJson)


def _read_checked(path: Path, schema: type[Closed]) -> dict[str, Any]:
    fields = read_json(path)
    checked(fields, schema, str(path))
    return fields
