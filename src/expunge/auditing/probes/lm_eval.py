"""lm-eval probe: run tasks of lm-evaluation-harness on every model of an audit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from expunge.auditing.probes.base import Probe, ProbedModel
from expunge.auditing.summary import SetSummary
from expunge.console import Display

if TYPE_CHECKING:
    # The package lm_eval is an extra, and slow to import.
    from expunge.auditing.probes.lm_eval_tasks import LmEvalTasks


@dataclass
class LmEvalProbe(Probe):
    """The probe that runs lm-eval tasks.

    Attributes:
        tasks: the lm-eval tasks to run.
        batch_size: prompts at once.
        display: shows progress.
        results: {model: {lm-eval task: metrics}} of the models so far.
    """

    tasks: LmEvalTasks
    batch_size: int
    display: Display
    results: dict[str, dict[str, SetSummary]] = field(default_factory=dict)

    def run(self, probed: ProbedModel) -> None:
        """Run all lm-eval tasks on a model, or read their results from the cache."""
        self.results[probed.name] = self.tasks.run(probed, self.batch_size, self.display)

    def summary(self, name: str) -> dict[str, SetSummary]:
        """Return the metrics of each lm-eval task."""
        return self.results.get(name, {})
