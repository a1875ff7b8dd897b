"""Plan an audit: its options, the sets to measure and the probes to run, all read and checked before a model is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from expunge.auditing.measure import AuditSets, with_paraphrases
from expunge.auditing.probes import Probe, make_probes
from expunge.auditing.probes.nonmembers import stand_ins
from expunge.auditing.record_metrics import Settings
from expunge.auditing.suite import Suite
from expunge.config.recipe import Recipe
from expunge.console import Display
from expunge.data.records import Record
from expunge.data.set_names import AUTO, FORGET, RETAIN, is_forget
from expunge.metrics.neighbours import neighbours
from expunge.models.placement import Placement
from expunge.models.sources import check_model_exists
from expunge.runs.loaded import OpenedRun
from expunge.runs.splits import Splits, draw, read_audit_sets, read_splits

if TYPE_CHECKING:
    # The package lm_eval is an extra, and slow to import.
    from expunge.auditing.probes.lm_eval_tasks import LmEvalTasks

NEAREST_SHARE = 4
"""One of so many retain records counts as near to the forget set."""


@dataclass(frozen=True)
class AuditOptions:
    """What a user chooses for one audit; the recipe's audit section applies where nothing is chosen.

    Attributes:
        control: a model that never saw the forget set; `auto`: the original, on records that no model saw; None: the recipe's, or that
            of the run's last audit.
        max_records: the most records of a set, drawn by seed; None: the suite's, or the recipe's.
        show_text: store and show questions and answers, as the recipe's setting does.
        suite: attacks and tolerances; None: no attacks and no verdict.
        tasks: lm-eval tasks to run on each model.
        placement: of the models; None: chosen for this machine and these models.
    """

    control: str | None = None
    max_records: int | None = None
    show_text: bool = False
    suite: Suite | None = None
    tasks: LmEvalTasks | None = None
    placement: Placement | None = None


@dataclass(frozen=True)
class AuditPlan:
    """Everything that an audit measures, on which records and how.

    Attributes:
        run: the run that is audited.
        control: name of the control model, `auto` or None.
        suite: as in `AuditOptions`.
        settings: lengths and batch size.
        splits: the run's records.
        sets: records and questions to measure.
        probes: everything that runs on each model beside the measurement of the sets.
        never_seen: the records that take the place of the forget set for the control `auto`; None otherwise.
        near: ids of the retain records that are nearest to the forget set.
        placement: as in `AuditOptions`.
        display: shows progress.
    """

    run: OpenedRun
    control: str | None
    suite: Suite | None
    settings: Settings
    splits: Splits
    sets: AuditSets
    probes: list[Probe]
    never_seen: list[Record] | None
    near: list[str]
    placement: Placement | None
    display: Display

    @property
    def recipe(self) -> Recipe:
        """The run's recipe."""
        return self.run.recipe


def plan_audit(run: OpenedRun, options: AuditOptions, display: Display) -> AuditPlan:
    """Read the records of an audit and prepare its probes.

    Raises:
        InputError: a file is gone or has changed, the control does not exist, or there are no never-seen records for `auto`.
    """
    recipe, suite = run.recipe, options.suite
    control = options.control or recipe.audit.control or run.info.get("control")
    if control is not None and control != AUTO:
        check_model_exists(control)
    settings = Settings(recipe.audit.max_new_tokens, recipe.audit.batch_size, options.show_text or recipe.audit.show_text)
    splits = read_splits(run)
    max_records = options.max_records or (None if suite is None else suite.max_records) or recipe.audit.max_records
    sets = audit_sets(recipe, splits, max_records)
    retain = sets.records[RETAIN]
    return AuditPlan(
        run=run,
        control=control,
        suite=suite,
        settings=settings,
        splits=splits,
        sets=sets,
        probes=make_probes(recipe, splits, settings, suite, options.tasks, display),
        never_seen=stand_ins(recipe, splits) if control == AUTO else None,
        near=[record.id for record in neighbours(splits.forget, retain, max(1, len(retain) // NEAREST_SHARE))],
        placement=options.placement,
        display=display,
    )


def audit_sets(recipe: Recipe, splits: Splits, max_records: int | None) -> AuditSets:
    """Return the sets of an audit: forget and held-out retain, each with its paraphrases, the recipe's further sets and its questions.

    Raises:
        InputError: a file is gone or faulty.
    """
    seed = recipe.training.seed
    drawn = {name: draw(records, max_records, seed) for name, records in ((FORGET, splits.forget), (RETAIN, splits.held_out))}
    records, questions = read_audit_sets(recipe)
    cut = {name: splits.cut(of_set, is_forget(name), recipe.audit.sets[name]) for name, of_set in records.items()}
    others = {name: draw(of_set, max_records, seed) for name, of_set in cut.items()}
    return AuditSets({**with_paraphrases(drawn), **others}, {name: draw(of_set, max_records, seed) for name, of_set in questions.items()})
