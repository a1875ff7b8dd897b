"""What a record says, field by field. Paths of data and models are as the recipe has them, others relative to the run's folder."""

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from expunge.attestation.schema_parts import Attacks, Figures, File, Hex, Part, Tasks

SCHEMA_VERSION = 1


class KeyedFile(Part):
    """A file that holds, or may hold, what is to be forgotten, and its HMAC, see `expunge.attestation.hmac_hashes`."""

    path: str
    hmac: Hex


class Tool(Part):
    """What wrote the record."""

    name: str
    version: str


class Environment(Part):
    """The machine and the packages of the audit, and the packages that the run was begun with."""

    python: str
    packages: dict[str, str]
    trained_with: dict[str, str]
    cpu: str
    gpu: str | None
    threads: int
    dtype: str
    deterministic: bool


def _as_text(given: object) -> object:
    # YAML reads a bare 2026-03-01 as a date and a bare 17 as a number.
    if isinstance(given, date):
        return given.isoformat()
    return str(given) if isinstance(given, int) and not isinstance(given, bool) else given


Told = Annotated[str | None, Field(default=None, min_length=1), BeforeValidator(_as_text)]


class Request(Part):
    """The demand to forget, as its keeper says it; what is not said is null."""

    id: Told
    received: Told
    legal_basis: Told
    reference: Told
    deadline: Told


class ForgetRow(Part):
    """One row to forget, without what it says."""

    id: str
    hmac: Hex
    file: str
    line: int | None


class Forget(Part):
    """What was to be forgotten; the root is over the rows' HMACs, in their order."""

    rows: Annotated[list[ForgetRow], Field(min_length=1)]
    merkle_root: Hex
    files: list[KeyedFile]


class Retain(Part):
    """What was to stay: the hash is of its records, whatever file they stand in."""

    source: str
    sha256: Hex
    count: int
    files: list[File]


class Reading(Part):
    """How the files were read, and which of their rows were trained on."""

    map: dict[str, str]
    split: str
    held_out: float
    allow_overlap: bool


class Counts(Part):
    """Records by use; overlap counts retain records that are to be forgotten too."""

    forget: int
    trained: int
    calibration: int
    held_out: int
    overlap: int


class Excluded(Part):
    """Rows that were left out, and why."""

    set: str
    reason: str
    rows: int


class SelfGenerated(Part):
    """What the model revealed: prompts and answers by their HMACs, and what had to be so for an answer to be kept."""

    file: KeyedFile
    prompts_hmac: Hex
    rows: int
    seed: int
    filters: dict[str, float | int | bool | str | None]


class Source(Part):
    """A further set of the audit."""

    name: str
    source: str
    files: list[KeyedFile]


class Carried(Part):
    """An earlier request that the base carries: its run and the files of its edit."""

    run: str
    files: list[File]


class Base(Part):
    """The model before this run; `weights_sha256` is over its tensors, which every verb that loads the run compares."""

    name: str
    revision: str | None
    weights_sha256: Hex
    files: list[File]
    tokenizer: list[str]
    chat_template: Hex | None
    carries: list[Carried]


class Edit(Part):
    """The change; one that is removable can be switched off by whoever holds its files."""

    files: list[File]
    settings: dict[str, Any]
    removable: bool


class Round(Part):
    """A round of a release."""

    number: int
    lambda_f: float
    file: File


class Metrics(Part):
    """What the audit measured before, after, and of the control."""

    before: Figures
    after: Figures
    control: Figures | None


class Previous(Part):
    """An earlier record: where it lay, and the SHA-256 of its file."""

    path: str
    sha256: Hex


class Signature(Part):
    """An Ed25519 signature (RFC 8032) and the public key that it is to be checked with, both in hex."""

    algorithm: Literal["Ed25519"]
    public_key: Hex
    value: Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]


class Facts(Part):
    """All of a record but what is computed from it; metrics and attacks are those of the files `audit` and `verdict`."""

    schema_version: Literal[1]
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
    self_generated: list[SelfGenerated]
    self_made: list[File]
    audit_sets: list[Source]
    base: Base
    edit: Edit
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
    tasks: Tasks | None = None
    not_tested: list[str]
    limitations: list[str]
    previous: Previous | None
    follows: Previous | None


class Attestation(Facts):
    """A record: the facts, the hash of their canonical form, and perhaps a signature."""

    attestation_id: Hex
    signature: Signature | None
