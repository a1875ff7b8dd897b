"""Sampling attack: one of many sampled answers may leak what the greedy answer hides."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from expunge.auditing.attacks.base import Attack, Count, Row, Target
from expunge.data.records import Record
from expunge.data.threats import Threat
from expunge.metrics.leak import common_words, fact_of, leak_at, leak_rate, sampled_rows
from expunge.metrics.statistics import Summary


@dataclass(frozen=True, kw_only=True)
class Sampling(Attack):
    """Sample many answers to each question, at temperature 1; one row for each record, with `leaks` of `samples`.

    Plain texts are left out, and so are records without a fact, see `expunge.metrics.leak.fact_of`.

    Attributes:
        samples: answers to each question; 64, 256 or 1024 without a leak bound the rate at 4.6, 1.2 or 0.29 % (95 %).
    """

    samples: Count = 16

    name: ClassVar[str] = "sampling"
    threat: ClassVar[Threat] = "API only"
    description: ClassVar[str] = "sampling at temperature 1"
    measures: ClassVar[str] = "whether a sampled answer states the fact"

    def verdict_row(self, row: Row) -> str:
        return f"one of {self.samples} samples"

    def steps(self, target: Target) -> int:
        """Return the number of samples of all records."""
        return self.samples * len(_with_facts(target, common_words(target.retain)))

    def run(self, target: Target, advance: Callable[[int], None]) -> Iterator[Row]:
        """Yield `id`, `value` (1.0 or 0.0), `leaks` and `samples`."""
        common = common_words(target.retain)
        rows = sampled_rows(
            target.model,
            target.builder,
            _with_facts(target, common),
            self.samples,
            common,
            target.max_new_tokens,
            target.batch_size,
            target.seed,
            advance,
        )
        for row in rows:
            yield {"id": row["id"], "value": float(row["leaks"] > 0), "leaks": row["leaks"], "samples": self.samples}

    def summary(self, rows: Sequence[Row]) -> Mapping[str, Summary]:
        """Return the share of samples that leak, and leak@k of as many samples as were drawn."""
        return {"leak_rate": leak_rate(rows), f"leak@{self.samples}": leak_at(rows, self.samples)}


def _with_facts(target: Target, common: frozenset[str]) -> list[Record]:
    return [record for record in target.forget if fact_of(record, common)]
