"""Schema of verdict.json, and of the description of an audit's lm-eval tasks."""

from typing import Any, Literal

from expunge.attestation.schema_parts import File, Hex, Part
from expunge.runs.facts import Figure


class VerdictRow(Part):
    """A row of a verdict, see `expunge.auditing.verdict`."""

    name: str
    threat: str
    value: str
    unlearned: Figure | None
    control: Figure | None
    original: Figure | None
    against: str
    excess: Figure | None
    tolerance: float
    verdict: Literal["pass", "fail", "not shown"]
    reason: str


class Attacks(Part):
    """`verdict.json`: the suite of attacks and the rows of the verdict."""

    suite: dict[str, Any]
    rows: list[VerdictRow]


class LmEvalTask(Part):
    """A task of lm-evaluation-harness, with the hashes of its configuration and of its examples."""

    name: str
    version: str
    examples: int
    config_sha256: Hex
    examples_sha256: Hex


class LmEval(Part):
    """The lm-eval tasks of an audit: the version of lm_eval, each task, and the user's own task files.

    `limit`: only so many first examples of each task were used; None: all.
    """

    version: str
    limit: int | None
    chat: bool
    tasks: list[LmEvalTask]
    files: list[File]
