"""The form of what an audit writes beside its record, and of the parts that a record has in common with it."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Part(BaseModel):
    """A part of a record: unknown names and missing ones are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Figure(Part):
    """A number, how many records it rests on, and its 95 % interval where it has one."""

    value: float
    n: int
    ci95: tuple[float, float] | None


Figures = dict[str, dict[str, Figure]]
"""{set: {metric: figure}}."""


class File(Part):
    """A file and its SHA-256."""

    path: str
    sha256: Hex


class Audited(Part):
    """`audit.json`: the numbers of each model."""

    original: Figures
    unlearned: Figures
    control: Figures | None = None


class Judgement(Part):
    """A row of a verdict: see `expunge.auditing.verdict.Judged`."""

    name: str
    threat: str
    value: str
    unlearned: Figure | None
    control: Figure | None
    original: Figure | None
    against: str
    excess: Figure | None
    allowed: float
    verdict: Literal["pass", "fail", "not shown"]
    reason: str


class Attacks(Part):
    """`verdict.json`: the suite of the attacks, and a row for each."""

    suite: dict[str, Any]
    rows: list[Judgement]


class Task(Part):
    """A task of lm-evaluation-harness: what it is and what it asks, by the hashes of its configuration and of its examples."""

    name: str
    version: str
    examples: int
    config_sha256: Hex
    examples_sha256: Hex


class Tasks(Part):
    """The tasks that each model was asked, all their examples or the first `limit`, and the user's own files of tasks."""

    lm_eval: str
    limit: int | None
    chat: bool
    asked: list[Task]
    files: list[File]
