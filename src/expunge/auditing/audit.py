"""Audit a run: the same sets measured on the original, the unlearned and the control model, kept by record, summarised, reported."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from expunge.attestation import NO_DETAILS, AttestationDetails, write_attestation
from expunge.auditing.measure import AuditSets, measure, measure_both, with_paraphrases
from expunge.auditing.probes.attacks import Attacker, edit_sha256
from expunge.auditing.probes.base import Examination
from expunge.auditing.probes.lm_eval import TaskExam
from expunge.auditing.probes.membership import inference_of, stand_ins
from expunge.auditing.probes.perplexity import Neutral
from expunge.auditing.record_metrics import Row, Settings
from expunge.auditing.suite import Suite
from expunge.auditing.summary import summarise
from expunge.auditing.verdict import always, write_verdict
from expunge.auditing.verdict_rows import judgements
from expunge.config.recipe import Recipe
from expunge.console import Display
from expunge.data.prompts import PromptBuilder
from expunge.data.set_names import AUTO, FORGET, RETAIN
from expunge.edits import edit_of
from expunge.edits.active import edits_off
from expunge.edits.requests import REQUEST
from expunge.edits.save import load_edit
from expunge.errors import WrongBase
from expunge.files import utc_now, write_parquet, write_text
from expunge.metrics.neighbours import neighbours
from expunge.models.loading import check_model_exists, load, weights_sha256
from expunge.pipeline.prepare import reread_sets
from expunge.reporting import write_report
from expunge.runs.cache import Measurement
from expunge.runs.folder import ATTACKED, AUDIT, INFERRED, MEASURED_ROWS, VERDICT, Run, discard_audit, locked
from expunge.runs.load import load_base
from expunge.runs.splits import Sets, draw, read_audit_sets

if TYPE_CHECKING:
    # Of an extra, and slow to import.
    from expunge.auditing.probes.lm_eval_tasks import Tasks

Examine = Callable[[str, nn.Module, PromptBuilder, str], None]
ORIGINAL, UNLEARNED, CONTROL = "original", "unlearned", "control"
NEAREST = 4
"""One of so many retain records counts as near to what was forgotten."""


def audit(
    run: Run,
    display: Display,
    control: str | None = None,
    max_rows: int | None = None,
    show_text: bool = False,
    filing: AttestationDetails = NO_DETAILS,
    suite: Suite | None = None,
    tasks: Tasks | None = None,
) -> Run:
    """Measure a run's three models and write audit.parquet, audit.json, report.html and attestation.json into its folder.

    With a suite they are also attacked: attacks.parquet has what was found, verdict.json says row by row what that shows.

    Args:
        run: with a trained edit.
        display: where progress goes.
        control: a model that never saw the forget set; `auto`: the original, asked for records that no model saw; none: the recipe's,
            or that of the run's last audit.
        max_rows: records a set, drawn by seed; none: the suite's, or the recipe's.
        show_text: keep and show questions and answers, as the recipe's setting does.
        filing: what the record says beside what is found.
        suite: of attacks, and what is allowed.
        tasks: of lm-evaluation-harness, to be put to each model too.

    Raises:
        InputError: a file is gone or has changed, a model is not the one that was trained on, or there are no never-seen records.
    """
    recipe = run.recipe
    control = control or recipe.audit.control or run.info.get("control")
    if control is not None and control != AUTO:
        check_model_exists(control)
    settings = Settings(recipe.audit.max_new_tokens, recipe.audit.batch_size, show_text or recipe.audit.show_text)
    with locked(run):
        mine = reread_sets(run)
        sets = audit_sets(run, mine, max_rows or (None if suite is None else suite.max_rows) or recipe.audit.max_rows)
        attacker = Attacker(run, suite, mine, settings, display)
        inference = inference_of(recipe, mine, None if suite is None else suite.membership, suite is not None and suite.gradients, display)
        neutral = Neutral(settings.batch_size, display)
        exams: list[Examination] = [attacker, inference]
        if suite is not None:
            exams.append(neutral)
        if tasks is not None:
            filing = replace(filing, lm_eval=tasks.described)
            exams.append(TaskExam(tasks, settings.batch_size, display))
        unseen = stand_ins(recipe, mine) if control == AUTO else None
        near = [record.id for record in neighbours(mine.forget, sets.records[RETAIN], max(1, len(sets.records[RETAIN]) // NEAREST))]

        def examine(name: str, model: nn.Module, builder: PromptBuilder, identity: str) -> None:
            for exam in exams:
                exam.examine(name, model, builder, identity)

        try:
            by_model = _off_and_on(run, sets, settings, display, examine)
        except WrongBase as error:
            # Nothing that was found before is about this model.
            discard_audit(run)
            if suite is not None:
                write_verdict(run, suite, [always("the edit is of this base model", "", str(error))])
            raise
        if control is not None:
            with display.step("Loading the control"):
                model, builder = load_base(run) if unseen else _loaded(control, recipe)
            asked = sets
            if unseen:
                asked = AuditSets(with_paraphrases({FORGET: draw(unseen, len(sets.records[FORGET]), recipe.training.seed)}))
            identity = weights_sha256(model)
            by_model[CONTROL] = measured_once(model, identity, builder, asked, settings, display, "Auditing the control")
            if unseen:
                attacker.examine(CONTROL, model, builder, identity, unseen)
            else:
                examine(CONTROL, model, builder, identity)
        write_rows(run.folder / MEASURED_ROWS, by_model)
        threshold = run.info.get("gate", {}).get("threshold")
        summaries = {name: summarise(rows, by_model.get(CONTROL), threshold, near) for name, rows in by_model.items()}
        for name, of_model in summaries.items():
            for of_set, found in (item for exam in exams for item in exam.summary(name).items()):
                of_model[of_set] = of_model.get(of_set, {}) | found
        summary = {name: _as_dict(of_model) for name, of_model in summaries.items()}
        write_text(run.folder / AUDIT, json.dumps(summary, indent=1) + "\n")
        for name in (VERDICT, ATTACKED, INFERRED):
            (run.folder / name).unlink(missing_ok=True)
        if suite is not None:
            write_rows(run.folder / ATTACKED, attacker.rows)
            if inference.found:
                write_rows(run.folder / INFERRED, inference.found)
            judged = judgements(by_model, attacker.hits, suite.allowed, removable=edit_of(recipe).removable, near=near)
            write_verdict(run, suite, [*judged, neutral.judged(suite.allowed.lost), *inference.judged(suite.allowed.privleak)])
        run.note(audited=utc_now(), control=control)
        write_report(run, sets.records)
        with display.step("Writing the record"):
            write_attestation(run, filing)
    return run


def audit_sets(run: Run, mine: Sets, max_rows: int | None) -> AuditSets:
    """The sets of a run's audit: forget and held-out retain, each with its paraphrases, the recipe's others and its questions.

    Raises:
        InputError: a file is gone, faulty or has changed since training.
    """
    recipe, seed = run.recipe, run.recipe.training.seed
    drawn = {name: draw(records, max_rows, seed) for name, records in ((FORGET, mine.forget), (RETAIN, mine.exam))}
    records, questions = read_audit_sets(recipe)
    others = {name: draw(own, max_rows, seed) for name, own in records.items()}
    return AuditSets({**with_paraphrases(drawn), **others}, {name: draw(own, max_rows, seed) for name, own in questions.items()})


def write_rows(path: Path, by_model: dict[str, list[Row]]) -> None:
    """One Parquet row for each model and record."""
    write_parquet(path, [{"model": name, **row} for name, rows in by_model.items() for row in rows])


def _loaded(control: str, recipe: Recipe) -> tuple[nn.Module, PromptBuilder]:
    model, tokenizer = load(control)
    return model, PromptBuilder(tokenizer, recipe.data.system)


def _off_and_on(run: Run, sets: AuditSets, settings: Settings, display: Display, examine: Examine) -> dict[str, list[Row]]:
    with display.step("Loading the model"):
        model, builder = load_base(run)
    base = weights_sha256(model)
    edited = f"{base}/{edit_sha256(run)}"

    def original() -> list[Row]:
        rows = measured_once(model, base, builder, sets, settings, display, "Auditing the original")
        examine(ORIGINAL, model, builder, base)
        return rows

    # Changed weights take the place of the original's.
    rows = original() if not edit_of(run.recipe).removable else []
    model = load_edit(model, run.edit).eval()
    measurements = [_measurement(identity, builder, sets, settings) for identity in (base, edited)]
    if not any(measurement.is_cached for measurement in measurements):
        with display.bar("Auditing the original and the unlearned model", 4 * sets.rows) as advance:
            both = measure_both(model, builder, sets, settings, advance)
        for measurement, rows_of_model in zip(measurements, both, strict=True):
            measurement.store(rows_of_model)
    if edit_of(run.recipe).removable:
        with edits_off(model, REQUEST):
            rows = original()
    unlearned = measured_once(model, edited, builder, sets, settings, display, "Auditing the unlearned model")
    examine(UNLEARNED, model, builder, edited)
    return {ORIGINAL: rows, UNLEARNED: unlearned}


def measured_once(
    model: nn.Module, identity: str, builder: PromptBuilder, sets: AuditSets, settings: Settings, display: Display, title: str
) -> list[Row]:
    """What a model measures: measured now, or read where it was kept; `identity` as for `expunge.auditing.probes.base.Examination`."""

    def measured() -> list[Row]:
        with display.bar(title, 2 * sets.rows) as advance:
            return measure(model, builder, sets, settings, advance)

    return _measurement(identity, builder, sets, settings).load_or(measured)


def _measurement(identity: str, builder: PromptBuilder, sets: AuditSets, settings: Settings) -> Measurement:
    return Measurement("sets", identity, builder, {**sets.records, **sets.questions}, **asdict(settings))


def _as_dict(summary: dict) -> dict:
    return {name: {metric: value.as_dict() for metric, value in of_set.items()} for name, of_set in summary.items()}
