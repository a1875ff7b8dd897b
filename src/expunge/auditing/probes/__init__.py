"""Probes of an audit, one file each: attacks, perplexity, membership inference, lm-eval tasks. `make_probes` lists them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from expunge.auditing.probes.attacks import AttackProbe
from expunge.auditing.probes.base import Probe, ProbedModel
from expunge.auditing.probes.lm_eval import LmEvalProbe
from expunge.auditing.probes.membership import MembershipProbe
from expunge.auditing.probes.nonmembers import NonMembers, read_nonmembers
from expunge.auditing.probes.perplexity import PerplexityProbe
from expunge.auditing.record_metrics import Settings
from expunge.auditing.suite import Suite
from expunge.config.recipe import Recipe
from expunge.console import Display
from expunge.edits import edit_of
from expunge.runs.splits import Splits, draw

if TYPE_CHECKING:
    # The package lm_eval is an extra, and slow to import.
    from expunge.auditing.probes.lm_eval_tasks import LmEvalTasks

__all__ = ["Probe", "ProbedModel", "make_probes"]


def make_probes(
    recipe: Recipe, splits: Splits, settings: Settings, suite: Suite | None, tasks: LmEvalTasks | None, display: Display
) -> list[Probe]:
    """Return the probes of an audit, in the order of their verdict rows.

    Args:
        recipe: of the run.
        splits: the run's records.
        settings: lengths and batch size.
        suite: attacks and tolerances; None: only lm-eval tasks.
        tasks: lm-eval tasks; None: none.
        display: shows progress.

    Raises:
        InputError: the holdout of membership inference is faulty, or holds a record that was trained on.
    """
    probes: list[Probe] = []
    seed = recipe.training.seed
    if suite is not None:
        probes.append(AttackProbe(suite.attacks, splits, settings, seed, edit_of(recipe).removable, display))
        probes.append(PerplexityProbe(settings.batch_size, display))
        if (size := suite.membership_records) is not None:
            unseen = read_nonmembers(recipe, splits)
            drawn = NonMembers(draw(unseen.records, size, seed), unseen.why)
            members, batch_size = draw(splits.forget, size, seed), recipe.audit.batch_size
            probes.append(MembershipProbe(members, drawn, suite.membership_gradients, batch_size, display))
    if tasks is not None:
        probes.append(LmEvalProbe(tasks, settings.batch_size, display))
    return probes
