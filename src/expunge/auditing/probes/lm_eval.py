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
    """lm-eval tasks.

    Attributes:
        tasks: to run.
        batch_size: prompts at once.
        display: shows progress.
        results: of each model so far, its metrics by task.
    """

    tasks: LmEvalTasks
    batch_size: int
    display: Display
    results: dict[str, dict[str, SetSummary]] = field(default_factory=dict)

    def run(self, probed: ProbedModel) -> None:
        """Run all tasks on a model."""
        self.results[probed.name] = self.tasks.run(probed, self.batch_size, self.display)

    def summary(self, name: str) -> dict[str, SetSummary]:
        """Return the metrics of each task."""
        return self.results.get(name, {})
