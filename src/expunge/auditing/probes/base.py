"""What every probe is: an evaluation of each model of an audit, beside the metrics of the audit's sets."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from expunge.auditing.suite import Tolerance
from expunge.auditing.summary import SetSummary
from expunge.auditing.verdict import VerdictRow
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record

Row = dict[str, Any]


@dataclass(frozen=True)
class ProbedModel:
    """A model of an audit.

    Attributes:
        name: original, unlearned or control.
        model: in evaluation mode, with its edit on or off.
        builder: of its tokenizer.
        identity: a hash of everything that the model's answers depend on, its edit included, for the cache.
        stand_ins: records that no model saw, in place of the forget set; only for the control `auto`, which is the original.
    """

    name: str
    model: nn.Module
    builder: PromptBuilder
    identity: str
    stand_ins: list[Record] | None = None


class Probe(ABC):
    """An evaluation that runs on one model after another and remembers the results.

    Attributes:
        file: the Parquet file in the run's folder for `rows`; empty: the probe has no rows of records.
        takes_stand_ins: whether it also runs on the control `auto`, with stand-ins in place of the forget set.
    """

    file: ClassVar[str] = ""
    takes_stand_ins: ClassVar[bool] = False

    @abstractmethod
    def run(self, probed: ProbedModel) -> None:
        """Evaluate a model, or read the results from the cache."""

    @abstractmethod
    def summary(self, name: str) -> dict[str, SetSummary]:
        """Return the metrics of a model by set; empty if the probe did not run on it."""

    @property
    def rows(self) -> dict[str, list[Row]]:
        """The rows of each model that the probe ran on."""
        return {}

    def verdict_rows(self, tolerance: Tolerance) -> list[VerdictRow]:
        """Return the verdict rows that follow from the results; a probe may have none."""
        return []
