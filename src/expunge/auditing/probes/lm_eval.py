"""Tasks of lm-evaluation-harness on the models of an audit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import nn

from expunge.auditing.summary import SetSummary
from expunge.console import Display
from expunge.data.prompts import PromptBuilder

if TYPE_CHECKING:
    # Of an extra, and slow to import.
    from expunge.auditing.probes.lm_eval_tasks import Tasks


@dataclass
class TaskExam:
    """The tasks, put to one model after the other.

    Attributes:
        tasks: what is asked.
        batch_size: prompts at once.
        display: where progress goes.
        found: of each model asked so far, its summaries.
    """

    tasks: Tasks
    batch_size: int
    display: Display
    found: dict[str, dict[str, SetSummary]] = field(default_factory=dict)

    def examine(self, name: str, model: nn.Module, builder: PromptBuilder, identity: str) -> None:
        """Ask a model; see `expunge.auditing.probes.base.Examination`."""
        self.found[name] = self.tasks.run(name, model, builder, identity, self.batch_size, self.display)

    def summary(self, name: str) -> dict[str, SetSummary]:
        """Each task's metrics."""
        return self.found.get(name, {})
