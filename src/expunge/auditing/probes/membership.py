"""Membership probe: can an attacker tell forget records from records that no model saw? AUROC by several scores, and PrivLeak."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import ClassVar

from expunge.auditing.probes.base import Probe, ProbedModel, Row
from expunge.auditing.probes.nonmembers import NonMembers
from expunge.auditing.suite import Tolerance
from expunge.auditing.summary import SetSummary
from expunge.auditing.verdict import BLIND, Verdict, VerdictRow, decide, not_shown
from expunge.console import Display
from expunge.data.records import Record
from expunge.data.set_names import FORGET
from expunge.data.threats import Threat
from expunge.errors import InputError
from expunge.metrics.membership import membership_rows, membership_summary, privleak
from expunge.metrics.statistics import Summary
from expunge.runs.cache import Measurement
from expunge.runs.folder import INFERRED

NAME = "membership inference (PrivLeak)"
VALUE = "AUROC of forget records against records that no model saw, by Min-K %"
THREAT: Threat = "API only"


@dataclass
class MembershipProbe(Probe):
    """Membership scores of forget records and of records that no model saw.

    Attributes:
        members: forget records.
        nonmembers: records that no model saw; without any nothing is scored, and the verdict says why.
        gradients: also score by the norm of the gradient, one record at a time.
        batch_size: records at once without gradients.
        display: shows progress.
        results: of each model scored so far, its rows.
    """

    members: list[Record]
    nonmembers: NonMembers
    gradients: bool
    batch_size: int
    display: Display
    results: dict[str, list[Row]] = field(default_factory=dict)

    file: ClassVar[str] = INFERRED

    def run(self, probed: ProbedModel) -> None:
        """Score all records."""
        members, nonmembers = self.members, self.nonmembers.records
        if not nonmembers:
            return
        records = {"members": members, "nonmembers": nonmembers}
        settings = {"gradients": self.gradients, "batch_size": self.batch_size}

        def measure() -> list[Row]:
            with self.display.bar(f"Membership inference, {probed.name}", len(members) + len(nonmembers)) as advance:
                return membership_rows(probed.model, probed.builder, members, nonmembers, **settings, advance=advance)

        self.results[probed.name] = Measurement("membership", probed.identity, probed.model, probed.builder, records, **settings).load_or(
            measure
        )

    @property
    def rows(self) -> dict[str, list[Row]]:
        """The scores of each record."""
        return self.results

    def summary(self, name: str) -> dict[str, SetSummary]:
        """Return the AUROC of a model by each score, and PrivLeak of the unlearned model if there is a control."""
        if not _finite(self.results.get(name, ())):
            return {}
        value = self._privleak()[0] if name == "unlearned" else None
        return {FORGET: membership_summary(self.results[name]) | ({} if value is None else {"privleak": value})}

    def verdict_rows(self, tolerance: Tolerance) -> list[VerdictRow]:
        """Return one row: PrivLeak, which may differ from 0 by the tolerance either way."""
        allowed = tolerance.privleak
        if not self.nonmembers.records:
            return [not_shown(NAME, VALUE, self.nonmembers.why, "control", allowed, THREAT)]
        if not all(map(_finite, self.results.values())):
            return [not_shown(NAME, VALUE, f"{BLIND}: a score is not a finite number", "control", allowed, THREAT)]
        auroc = {name: membership_summary(rows)["mia_min_k"] for name, rows in self.results.items()}
        value, missing = self._privleak()
        verdict, reason = ("not shown", missing) if value is None else _verdict(value, allowed)
        control, original = auroc.get("control"), auroc.get("original")
        return [VerdictRow(NAME, THREAT, VALUE, auroc["unlearned"], control, original, "control", value, allowed, verdict, reason)]

    def _privleak(self) -> tuple[Summary | None, str]:
        """Return PrivLeak, or None and why it cannot be computed."""
        if not all(map(_finite, self.results.values())):
            return None, "a score is not a finite number"
        try:
            return privleak(self.results["unlearned"], self.results.get("control")), ""
        except InputError as error:
            return None, str(error)


def _verdict(value: Summary, allowed: float) -> tuple[Verdict, str]:
    if value.ci95 is None:
        return "not shown", "it has no interval"
    low, high = value.ci95
    interval = f"95 % interval {low:+.3f} to {high:+.3f}"
    message = f"relative difference from the control {value.value:+.3f}, {interval}, allowed {allowed:.3f} either way"
    return decide((low, high), (-allowed, allowed), message)


def _finite(rows: Sequence[Row]) -> bool:
    return bool(rows) and all(isfinite(score) for row in rows for name, score in row.items() if name not in ("id", "member"))
