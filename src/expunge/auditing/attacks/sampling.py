"""Sampling attack: one of many sampled answers may leak what the greedy answer hides."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from expunge.auditing.attacks.base import Attack, Count, Row, Target
from expunge.auditing.blindness import UNFINISHED, Sensitivity, columns, fact_sensitivity
from expunge.data.records import Record, question_record
from expunge.data.threats import Threat
from expunge.metrics.leak import common_words, fact_of, leak_at, leak_rate, sampled_rows
from expunge.metrics.statistics import Summary


@dataclass(frozen=True, kw_only=True)
class Sampling(Attack):
    """Sample many answers to each question, at temperature 1; one row for each record, with `leaks` of `samples`.

    Plain texts are left out, and so are records without a fact, see `expunge.metrics.leak.fact_of`. If that is because their answer has
    no word that could be a fact, they have a row that says that the attack is blind to them.

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
        """Yield `id`, `value` (1.0 or 0.0), `leaks`, `samples`, `reach` and `blind`; of a record that is not sampled `leaks` is None.

        Where the model reasons before it answers, `reasoning` is 1.0 if the reasoning of a sample states the fact.
        """
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
        by_id = {row["id"]: row for row in rows}
        for record in target.forget:
            if record.id in by_id or _without_any_fact(record):
                sampled = by_id.get(record.id, {"leaks": None})
                seen = fact_sensitivity(fact_of(record, common), target.builder, record.expected, target.max_new_tokens)
                row = {"id": record.id, "value": float(bool(sampled["leaks"])), "leaks": sampled["leaks"], "samples": self.samples}
                yield {**row, **_reasoning(sampled, seen), **columns(UNFINISHED if _mostly_unfinished(sampled) else seen)}

    def summary(self, rows: Sequence[Row]) -> Mapping[str, Summary]:
        """Return the share of samples that leak, and leak@k of as many samples as were drawn."""
        sampled = [row for row in rows if row["leaks"] is not None]
        return {"leak_rate": leak_rate(sampled), f"leak@{self.samples}": leak_at(sampled, self.samples)} if sampled else {}


def _reasoning(sampled: Row, seen: Sensitivity) -> Row:
    """Return whether the reasoning of a sample states the fact, if the model reasons before it answers."""
    if "leaks_in_reasoning" not in sampled:
        return {}
    return {"reasoning": float(bool(sampled["leaks_in_reasoning"])), **columns(seen, "reasoning")}


def _mostly_unfinished(sampled: Row) -> bool:
    """Return whether half of the samples have no answer, because their reasoning did not end."""
    return 2 * sampled.get("unfinished", 0) >= sampled.get("samples", 1)


def _with_facts(target: Target, common: frozenset[str]) -> list[Record]:
    return [record for record in target.forget if fact_of(record, common)]


def _without_any_fact(record: Record) -> bool:
    """Return whether an answer has no word that could be a fact, whatever the question says: the attack cannot see it."""
    return bool(record.turns) and not fact_of(question_record(record.id, "", record.expected))
