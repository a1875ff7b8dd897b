"""Schema of the attestation, field by field.

Paths of data and models are those of the recipe. Other paths are relative to the run folder.
"""

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from expunge.attestation.schema_audit import Attacks, LmEval
from expunge.attestation.schema_parts import File, Hex, KeyedFile, Part
from expunge.runs.facts import Figures

SCHEMA_VERSION = 4
"""Of the attestations that are written. One of version 3 has the part `weights`, a hash of the weights in memory, for `checkpoint`."""


class Tool(Part):
    """The program that wrote the attestation."""

    name: str
    version: str


class Environment(Part):
    """Machine and packages of the audit, and the packages that the training started with."""

    python: str
    packages: dict[str, str]
    trained_with: dict[str, str]
    cpu: str
    gpu: str | None
    threads: int
    dtype: str
    deterministic: bool


def _as_text(value: object) -> object:
    # YAML reads a bare 2026-03-01 as a date and a bare 17 as a number.
    if isinstance(value, date):
        return value.isoformat()
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


OptionalText = Annotated[str | None, Field(default=None, min_length=1), BeforeValidator(_as_text)]


class Request(Part):
    """The request to forget, in the words of the user. Fields that were not given are null."""

    id: OptionalText
    received: OptionalText
    legal_basis: OptionalText
    reference: OptionalText
    deadline: OptionalText


class ForgetRecord(Part):
    """A record to forget, without its text."""

    id: str
    hmac: Hex
    file: str
    line: int | None


class Forget(Part):
    """The forget set. The Merkle root is computed from the HMACs of the records, in their order."""

    records: Annotated[list[ForgetRecord], Field(min_length=1)]
    merkle_root: Hex
    files: list[KeyedFile]


class Retain(Part):
    """The retain set. The hash covers its records, not the files that hold them."""

    source: str
    sha256: Hex
    count: int
    files: list[File]


class Language(Part):
    """The language of the shipped refusals, instructions and prompt variants, and by what rule it was chosen."""

    code: str
    rule: str


class Reading(Part):
    """The settings that data files were read and split with.

    Maps and splits of the two files include the common ones. Attestations of earlier versions lack them, and the language.
    """

    map: dict[str, str]
    split: str
    forget_map: dict[str, str] | None = None
    forget_split: str | None = None
    retain_map: dict[str, str] | None = None
    retain_split: str | None = None
    held_out: float
    allow_overlap: bool
    language: Language | None = None


class Counts(Part):
    """Number of records by use. `overlap` counts retain records that are also in the forget set."""

    forget: int
    trained: int
    calibration: int
    held_out: int
    overlap: int


class Excluded(Part):
    """How many records were not used, and why."""

    set: str
    reason: str
    records: int


class RevealedSet(Part):
    """Forget records that the model itself revealed: HMACs of file and prompts, and the filters that selected them."""

    file: KeyedFile
    prompts_hmac: Hex
    records: int
    seed: int
    filters: dict[str, float | int | bool | str | None]


class AuditSet(Part):
    """A further set that the audit measured."""

    name: str
    source: str
    files: list[KeyedFile]


class EarlierEdit(Part):
    """The edit of an earlier run that is part of the base model: its run and the files of its edit."""

    run: str
    files: list[File]


class AdapterBase(Part):
    """The base model of a PEFT adapter that was given as a model; the adapter is merged into it."""

    name: str
    revision: str | None
    files: list[File]


class Base(Part):
    """The model before this run, earlier edits included.

    `parts` has the hash of each part of its `expunge.models.identity.ModelIdentity`, and `identity` is the hash of all. Every command
    that loads the run compares them.
    """

    name: str
    revision: str | None
    identity: Hex
    parts: dict[str, Hex]
    files: list[File]
    tokenizer: list[str]
    adapter_base: AdapterBase | None = None
    earlier_edits: list[EarlierEdit]


class Control(Part):
    """The control model of the audit, see `Base`; none of its files if it is not on this machine, or is the original."""

    name: str
    identity: Hex
    parts: dict[str, Hex]
    files: list[File]
    adapter_base: AdapterBase | None = None


class Edit(Part):
    """The trained edit. Whoever holds the files can switch a removable edit off.

    `manifest` is the SHA-256 of the manifest that training, or an undo, wrote into the edit's folder and recorded in run.json;
    `written` is when it did, in UTC.
    """

    manifest: Hex
    written: str
    files: list[File]
    settings: dict[str, Any]
    removable: bool


class Round(Part):
    """A round of a release."""

    number: int
    lambda_f: float
    file: File


class Metrics(Part):
    """The audit's metrics of the original (before), the unlearned (after) and the control model."""

    before: Figures
    after: Figures
    control: Figures | None


class Previous(Part):
    """An earlier attestation: its path at that time, and the SHA-256 of its file."""

    path: str
    sha256: Hex


class Signature(Part):
    """An Ed25519 signature (RFC 8032) and the public key that checks it, both in hex."""

    algorithm: Literal["Ed25519"]
    public_key: Hex
    value: Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]


class Facts(Part):
    """All fields of an attestation except its id and its signature.

    `metrics` and `attacks` repeat the content of the files `audit` and `verdict`.
    """

    schema_version: Literal[3, 4]
    created_utc: str
    tool: Tool
    environment: Environment
    request: Request
    not_given: list[str]
    key_sha256: Hex
    recipe: KeyedFile
    reading: Reading
    forget: Forget
    counts: Counts
    excluded: list[Excluded]
    retain: Retain
    revealed: list[RevealedSet]
    self_generated: list[File]
    audit_sets: list[AuditSet]
    base: Base
    edit: Edit
    control: Control | None
    method: str
    hyperparameters: dict[str, Any]
    seeds: dict[str, int]
    rounds: list[Round]
    stop_reason: str
    threat_model: list[str]
    audit: File
    audit_rows: list[KeyedFile]
    verdict: File | None
    metrics: Metrics
    attacks: Attacks | None
    lm_eval: LmEval | None = None
    not_tested: list[str]
    limitations: list[str]
    previous: Previous | None
    follows: Previous | None


class Attestation(Facts):
    """An attestation: the facts, the hash of their canonical form, and a signature if it was signed."""

    attestation_id: Hex
    signature: Signature | None
