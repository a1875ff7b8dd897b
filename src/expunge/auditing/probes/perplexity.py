"""Perplexity probe: how much an edit damages the model's language, measured on neutral texts."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite

from expunge.auditing.probes.base import Probe, ProbedModel, Row
from expunge.auditing.suite import Tolerance
from expunge.auditing.summary import SetSummary
from expunge.auditing.verdict import BLIND, VerdictRow, not_shown, verdict_row_of
from expunge.console import Display
from expunge.data.set_names import NEUTRAL
from expunge.metrics.perplexity import perplexity, perplexity_rise, perplexity_rows
from expunge.runs.cache import Measurement

NAME, VALUE = "utility: neutral texts", "perplexity; excess: its relative rise"


@dataclass
class PerplexityProbe(Probe):
    """Perplexity of the shipped neutral texts, which nothing is trained on.

    Attributes:
        batch_size: records at once.
        display: shows progress.
        results: of each model so far, its rows.
    """

    batch_size: int
    display: Display
    results: dict[str, list[Row]] = field(default_factory=dict)

    def run(self, probed: ProbedModel) -> None:
        """Score the neutral texts."""

        def measure() -> list[Row]:
            with self.display.step(f"Perplexity of neutral texts, {probed.name}"):
                return perplexity_rows(probed.model, probed.builder, self.batch_size)

        measurement = Measurement("perplexity", probed.identity, probed.model, probed.builder, {}, batch_size=self.batch_size)
        self.results[probed.name] = measurement.load_or(measure)

    def summary(self, name: str) -> dict[str, SetSummary]:
        """Return the perplexity of a model."""
        return {NEUTRAL: {"perplexity": perplexity(self.results[name])}} if _finite(self.results.get(name, ())) else {}

    def verdict_rows(self, tolerance: Tolerance) -> list[VerdictRow]:
        """Return one row: the relative rise of perplexity against the original."""
        if not all(map(_finite, self.results.values())):
            return [not_shown(NAME, VALUE, f"{BLIND}: a perplexity is not a finite number", "original", tolerance.utility_drop)]
        means = {name: perplexity(rows) for name, rows in self.results.items()}
        rise = perplexity_rise(self.results["unlearned"], self.results["original"])
        return [verdict_row_of(NAME, VALUE, means, "original", rise, tolerance.utility_drop)]


def _finite(rows: Sequence[Row]) -> bool:
    return bool(rows) and all(isfinite(row["nll"]) for row in rows)
