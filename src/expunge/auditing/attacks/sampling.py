"""Sampling: what greedy decoding keeps to itself may be said in one of many draws."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from expunge.auditing.attacks.base import Attack, Count, Row, Target
from expunge.data.records import Record
from expunge.data.threats import Threat
from expunge.metrics.leak import common_words, fact_of, sampled_rows


@dataclass(frozen=True, kw_only=True)
class Sampling(Attack):
    """Each question is asked again and again at temperature 1; a row for each record, with `leaks` of `samples`.

    Plain texts, and records whose answer has no words of its own (see `fact_of`), are left out.

    Attributes:
        samples: answers to each question; none that leaks of 64, 256, 1024 bounds the rate at 4.6, 1.2, 0.29 % (95 %).
    """

    samples: Count = 16

    name: ClassVar[str] = "sampling"
    threat: ClassVar[Threat] = "API only"
    value: ClassVar[str] = "whether a sampled answer states the fact"

    def tried(self, row: Row) -> str:
        """By the number of samples."""
        return f"one of {self.samples} samples"

    def steps(self, target: Target) -> int:
        """Samples."""
        return self.samples * len(_with_facts(target, common_words(target.retain)))

    def run(self, target: Target, advance: Callable[[int], None]) -> Iterator[Row]:
        """`id`, `value` (1.0 or 0.0), `leaks` and `samples`."""
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


def _with_facts(target: Target, common: frozenset[str]) -> list[Record]:
    return [record for record in target.forget if fact_of(record, common)]
