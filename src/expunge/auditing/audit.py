"""Audit a run: measure and attack the original, the unlearned and the control model alike, and write numbers and verdict to its folder.

The report and the attestation are written from the result, see `expunge.api.audit`.
"""

from dataclasses import dataclass
from typing import Any

from expunge.auditing.control_check import control_fault, without_control
from expunge.auditing.measure_models import CONTROL, MODELS, measure_models
from expunge.auditing.plan import AuditOptions, AuditPlan, plan_audit
from expunge.auditing.record_metrics import Row
from expunge.auditing.summary import SetSummary, summarise
from expunge.auditing.verdict import always, write_verdict
from expunge.auditing.verdict_rows import verdict_rows
from expunge.console import Display
from expunge.data.records import Record
from expunge.errors import Damaged, WrongBase
from expunge.files import PRIVATE, remove_file, utc_now, write_parquet, write_text
from expunge.models.finite import json_text
from expunge.models.ranks import is_first
from expunge.runs.folder import ATTACKED, AUDIT, INFERRED, INFO, MEASURED_ROWS, VERDICT, Run, discard_audit
from expunge.runs.loaded import OpenedRun
from expunge.runs.placed import placement_facts
from expunge.runs.splits import Splits

RowsByModel = dict[str, list[Row]]


@dataclass(frozen=True)
class AuditResult:
    """The result of an audit.

    Attributes:
        run: the run, with the facts that the audit added to run.json, if this process wrote them.
        splits: the run's records.
        records: the records that were measured, by set.
    """

    run: OpenedRun
    splits: Splits
    records: dict[str, list[Record]]


def audit(run: OpenedRun, options: AuditOptions, display: Display) -> AuditResult:
    """Measure a run's models and write audit.parquet and audit.json; with a suite attack them too, and write the verdict.

    In `expunge.models.ranks.shared_work` the processes share the measurements, and the first one writes.

    Args:
        run: with a trained edit; the caller holds its lock.
        options: control, suite and more.
        display: shows progress.

    Raises:
        InputError: a file is gone or has changed, a model is not the one that was trained on, or there are no never-seen records.
    """
    plan = plan_audit(run, options, display)
    try:
        measured = measure_models(plan)
    except WrongBase as error:
        if is_first():
            _discard(plan, error)
        raise
    if not is_first():
        return AuditResult(run, plan.splits, plan.sets.records)
    rows, control = measured.rows, measured.control
    _write(plan, rows, _summary(plan, rows), measured.control_is_original)
    control_model = None if control is None else {"sha256": control.sha256, "parts": control.parts}
    facts = {"control": plan.control, "control_model": control_model, "audit_placement": placement_facts(measured.placement)}
    audited = run.updated(audited=utc_now(), **facts)
    if audited.edit_manifest != run.edit_manifest:
        raise Damaged(f"{run.folder / INFO}: records another edit now than when the audit started; restore the run from a copy")
    return AuditResult(audited, plan.splits, plan.sets.records)


def _discard(plan: AuditPlan, error: WrongBase) -> None:
    """Delete the earlier audit, which measured another model; with a suite, write a verdict that fails."""
    discard_audit(plan.run)
    if plan.suite is not None:
        write_verdict(plan.run, plan.suite, [always("the edit is of this base model", "", str(error))])


def _summary(plan: AuditPlan, rows: RowsByModel) -> dict[str, Any]:
    threshold = plan.run.info.get("gate", {}).get("threshold")
    summaries: dict[str, dict[str, SetSummary]] = {
        model: summarise(of_model, rows.get(CONTROL), threshold, plan.near) for model, of_model in rows.items()
    }
    for model, of_model in summaries.items():
        for probe in plan.probes:
            for name, of_set in probe.summary(model).items():
                of_model[name] = of_model.get(name, {}) | of_set
    return {
        model: {name: {metric: value.as_dict() for metric, value in of_set.items()} for name, of_set in of_model.items()}
        for model, of_model in summaries.items()
    }


def _write(plan: AuditPlan, rows: RowsByModel, summary: dict[str, Any], control_is_original: bool) -> None:
    folder, suite = plan.run.folder, plan.suite
    private = plan.settings.show_text
    write_rows(plan.run, MEASURED_ROWS, rows, private)
    write_text(folder / AUDIT, json_text(summary, str(folder / AUDIT), indent=1) + "\n")
    for name in (VERDICT, ATTACKED, INFERRED):
        remove_file(folder / name)
    if suite is None:
        return
    of_verdict = verdict_rows(rows, suite.tolerance, plan.near)
    for probe in plan.probes:
        if probe.file and probe.rows:
            write_rows(plan.run, probe.file, probe.rows, private)
        of_verdict += probe.verdict_rows(suite.tolerance)
    if fault := control_fault(rows, control_is_original):
        of_verdict = without_control(of_verdict, fault)
    write_verdict(plan.run, suite, of_verdict)


def write_rows(run: Run, name: str, rows: RowsByModel, private: bool) -> None:
    """Write one Parquet row for each model and record to a file in a run's folder; only the owner may read private rows."""
    plain = [{"model": model, **row} for model in MODELS for row in rows.get(model, [])]
    write_parquet(run.folder / name, plain, PRIVATE if private else 0o666)
