"""The verdict of an audit: row by row, whether the unlearned model leaks more than the control, or lost more utility than is tolerated.

Rows are not added up: a single score would hide what failed.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite
from statistics import fmean
from typing import Any, Literal

from expunge.auditing.blindness import UNCHECKED, Sensitivities, describe
from expunge.auditing.suite import Suite
from expunge.documents import read_json
from expunge.errors import InputError
from expunge.files import write_text
from expunge.metrics.statistics import Summary, excess_ci, mean_ci
from expunge.models.finite import json_text
from expunge.runs.folder import VERDICT, Run

Verdict = Literal["pass", "fail", "not shown"]
Reference = Literal["control", "original"]
BLIND = "blind"
"""The first word of a reason where the numbers of a row say nothing."""
BLIND_SHARE = 0.05
"""The largest share of records that a metric may be blind to in a row that passes."""
MIN_RECORDS = 4
"""The fewest records for a pass: with fewer the bootstrap interval is too narrow. A leak fails however few records there are."""


@dataclass(frozen=True)
class VerdictRow:
    """One row of a verdict.

    Attributes:
        name: the attack or the measurement.
        threat: who can run the attack; empty for a measurement.
        value: name of the value, which is in [0, 1] except for perplexity.
        unlearned, control, original: mean of the value for each model; None if there is no such model.
        against: the model that the unlearned one is compared with.
        excess: how much worse the unlearned model is; None if there is nothing to compare with.
        tolerance: the largest excess that passes.
        verdict: pass if the whole interval is within the tolerance, n is at least `MIN_RECORDS` and the metric is not blind; fail if none
            of the interval is within the tolerance; else not shown.
        reason: the verdict in words.
    """

    name: str
    threat: str
    value: str
    unlearned: Summary | None
    control: Summary | None
    original: Summary | None
    against: Reference
    excess: Summary | None
    tolerance: float
    verdict: Verdict
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """Return the row as plain values for JSON."""
        return {name: value.as_dict() if isinstance(value, Summary) else value for name, value in vars(self).items()}


Values = Mapping[str, Sequence[float]]
"""The values of each record's rows, by record id."""


def verdict_row(
    name: str,
    value: str,
    by_model: Mapping[str, Values],
    against: Reference,
    tolerance: float,
    sensitivities: Sensitivities,
    threat: str = "",
    lower_is_worse: bool = False,
) -> VerdictRow:
    """Compare the unlearned model with another: record by record, or mean with mean if they share no record (never-seen records).

    A row passes only if a model that forgot nothing would fail it. Records that the metric is blind to are not compared; if they are more
    than `BLIND_SHARE`, the row cannot pass.

    Args:
        name: the attack or the measurement.
        value: name of the values, which are in [0, 1].
        by_model: values of `unlearned`, and of `control` and `original` if there are such models.
        against: the model to compare with.
        tolerance: how much worse than it the unlearned model may be.
        sensitivities: how well the metric sees each record of each model.
        threat: who can run the attack.
        lower_is_worse: the values measure utility, not leakage.

    Raises:
        ValueError: the unlearned model has no values.
    """
    if not by_model.get("unlearned"):
        raise ValueError(f"{name}: the unlearned model has no values")
    if reason := _not_finite(by_model):
        return not_shown(name, value, reason, against, tolerance, threat)
    means = {model: mean_ci(_by_record(values)) for model, values in by_model.items() if values}
    unlearned, reference = by_model["unlearned"], by_model.get(against, {})
    records = list(dict.fromkeys([*unlearned, *reference]))
    blind = {id_: why for id_ in records if (why := sensitivities.get(id_, UNCHECKED).blind)}
    if lower_is_worse:
        # What is lost shows in the beginning of an answer too.
        blind = {id_: why for id_, why in blind.items() if why != "cut"}
    seen, reference_seen = without(unlearned, blind), without(reference, blind)
    sign = -1.0 if lower_is_worse else 1.0

    def judged(of_unlearned: Values, of_reference: Values) -> VerdictRow:
        return verdict_row_of(name, value, means, against, excess_of(of_unlearned, of_reference, sign), tolerance, threat)

    row = judged(seen, reference_seen)
    if row.verdict != "fail" and len(blind) > BLIND_SHARE * len(records):
        everything = judged(unlearned, reference)
        return replace(everything, verdict="not shown", reason=f"{BLIND}: {describe(blind, records)}") if reference else everything
    if row.verdict == "pass":
        worst = {id_: [0.0 if lower_is_worse else sensitivities[id_].reach] for id_ in seen}
        if judged(worst, reference_seen).verdict != "fail":
            reason = f"{BLIND}: even the worst possible answers would not fail, as the {against} is at {means[against].value:.2f}"
            return replace(row, verdict="not shown", reason=reason)
    return replace(row, reason=f"{row.reason}; {describe(blind, records)}") if blind and row.excess else row


def not_shown(name: str, value: str, reason: str, against: Reference, tolerance: float, threat: str = "") -> VerdictRow:
    """Return a row without numbers that is not shown, for a reason."""
    return VerdictRow(name, threat, value, None, None, None, against, None, tolerance, "not shown", reason)


def verdict_row_of(
    name: str,
    value: str,
    means: Mapping[str, Summary],
    against: Reference,
    excess: Summary | None,
    tolerance: float,
    threat: str = "",
) -> VerdictRow:
    """Return the row for a known excess; `means` has the value of each model, the rest is as for `verdict_row`."""
    unlearned, control, original = means["unlearned"], means.get("control"), means.get("original")
    verdict, reason = _verdict(excess, tolerance, against, unlearned.n)
    return VerdictRow(name, threat, value, unlearned, control, original, against, excess, tolerance, verdict, reason)


def decide(interval: tuple[float, float], tolerated: tuple[float, float], comparison: str) -> tuple[Verdict, str]:
    """Return pass if the whole interval is tolerated, fail if none of it is, else not shown; and the reason, starting with `comparison`."""
    (low, high), (least, most) = interval, tolerated
    if least <= low and high <= most:
        return "pass", comparison
    return ("fail", comparison) if low > most or high < least else ("not shown", f"{comparison}: the interval holds both")


def always(name: str, threat: str, reason: str) -> VerdictRow:
    """Return a row that fails whatever is measured."""
    return VerdictRow(name, threat, "", None, None, None, "original", None, 0.0, "fail", reason)


def write_verdict(run: Run, suite: Suite, rows: Sequence[VerdictRow]) -> None:
    """Write verdict.json into a run's folder: `suite`, and `rows` as `VerdictRow.as_dict` gives them."""
    verdict = {"suite": suite.model_dump(mode="json"), "rows": [row.as_dict() for row in rows]}
    write_text(run.folder / VERDICT, json_text(verdict, str(run.folder / VERDICT), indent=1) + "\n")


def read_verdict(run: Run) -> list[dict[str, Any]]:
    """Read the rows of a run's verdict.json.

    Raises:
        InputError: the run was audited without a suite.
    """
    path = run.folder / VERDICT
    if not path.exists():
        raise InputError(f"{run.folder}: has no verdict; try: expunge audit {run.folder} --suite quick")
    return read_json(path, dict[str, Any])["rows"]


def _verdict(excess: Summary | None, tolerance: float, against: Reference, records: int) -> tuple[Verdict, str]:
    if excess is None:
        return "not shown", f"there is no {against} to compare with"
    if excess.ci95 is None:
        return "not shown", "one record has no interval"
    low, high = excess.ci95
    comparison = f"{excess.value:+.3f} against the {against}, 95 % interval {low:+.3f} to {high:+.3f}, allowed {tolerance:+.3f}"
    verdict, reason = decide((low, high), (-inf, tolerance), comparison)
    # With never-seen records n counts those of both models.
    n = min(excess.n, records)
    if verdict == "pass" and n < MIN_RECORDS:
        return "not shown", f"{comparison}: n = {n} is too few to pass"
    return verdict, reason


def _by_record(values: Values) -> list[float]:
    return [fmean(of_record) for of_record in values.values()]


def without(values: Values, left_out: Collection[str]) -> Values:
    """Return the values of all records but some."""
    return {id_: of_record for id_, of_record in values.items() if id_ not in left_out}


def excess_of(unlearned: Values, reference: Values, sign: float = 1.0) -> Summary | None:
    """Return how much worse the unlearned model is, over the records that both have, or over all if they share none."""
    if shared := [id_ for id_ in unlearned if id_ in reference]:
        return excess_ci([sign * (fmean(unlearned[id_]) - fmean(reference[id_])) for id_ in shared])
    if unlearned and reference:
        return excess_ci([sign * value for value in _by_record(unlearned)], [sign * value for value in _by_record(reference)])
    return None


def _not_finite(by_model: Mapping[str, Values]) -> str:
    """Return in one sentence how many records of which model have a value that is not a finite number; empty if all are finite."""
    for model, values in by_model.items():
        if strange := [id_ for id_, of_record in values.items() if not all(map(isfinite, of_record))]:
            many = f"{len(strange)} of {len(values)} records of the {model}, such as {strange[0]}"
            return f"{BLIND}: the value of {many}, is not a finite number"
    return ""
