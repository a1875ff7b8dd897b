"""Perplexity of neutral texts on the models of an audit: what an edit does to the language itself."""

from dataclasses import dataclass, field

from torch import nn

from expunge.auditing.summary import SetSummary
from expunge.auditing.verdict import Judged, judged_by
from expunge.console import Display
from expunge.data.prompts import PromptBuilder
from expunge.data.set_names import NEUTRAL
from expunge.metrics.perplexity import Row, perplexity, perplexity_rise, perplexity_rows
from expunge.runs.cache import Measurement

NAME, VALUE = "kept: neutral texts", "perplexity; excess: the share of itself by which it rises"


@dataclass
class Neutral:
    """Perplexity of shipped texts that nothing is trained on, of one model after the other.

    Attributes:
        batch_size: records at once.
        display: where progress goes.
        found: of each model so far, its rows.
    """

    batch_size: int
    display: Display
    found: dict[str, list[Row]] = field(default_factory=dict)

    def examine(self, name: str, model: nn.Module, builder: PromptBuilder, identity: str) -> None:
        """Score a model; see `expunge.auditing.probes.base.Examination`."""

        def measured() -> list[Row]:
            with self.display.step(f"Perplexity of neutral texts, {name}"):
                return perplexity_rows(model, builder, self.batch_size)

        self.found[name] = Measurement("perplexity", identity, builder, {}, batch_size=self.batch_size).load_or(measured)

    def summary(self, name: str) -> dict[str, SetSummary]:
        """Perplexity of a model."""
        return {NEUTRAL: {"perplexity": perplexity(self.found[name])}} if name in self.found else {}

    def judged(self, allowed: float) -> Judged:
        """The verdict's row."""
        means = {name: perplexity(rows) for name, rows in self.found.items()}
        return judged_by(NAME, VALUE, means, "original", perplexity_rise(self.found["unlearned"], self.found["original"]), allowed)
