"""Sampling: what greedy decoding keeps to itself may be said in one of many draws."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from expunge.audit.attacks.base import Attack, Count, Row, Target, Threat
from expunge.data.records import Record
from expunge.models.generation import generate, sampler
from expunge.tasks.people import fact_of, words


@dataclass(frozen=True, kw_only=True)
class Sampling(Attack):
    """Each question is asked again and again at temperature 1; a row for each record, with `leaks` of `samples`.

    Plain texts, and records whose answer has no words of its own (see `fact_of`), are left out.

    Attributes:
        samples: answers to each question; none that leaks of 64, 256, 1024 bounds the rate at 4.6, 1.2, 0.29 % (95 %).
    """

    samples: Count = 16

    threat: ClassVar[Threat] = "API only"
    value: ClassVar[str] = "whether a sampled answer states the fact"

    def steps(self, target: Target) -> int:
        """Samples."""
        return self.samples * len(_with_facts(target))

    def run(self, target: Target, advance: Callable[[int], None]) -> Iterator[Row]:
        """`id`, `value` (1.0 or 0.0), `leaks` and `samples`."""
        pick = sampler(target.seed)
        for record in _with_facts(target):
            prompts = [target.builder.record(record).prompt] * self.samples
            answers = generate(target.model, target.builder, prompts, target.max_new_tokens, target.batch_size, advance, pick)
            leaks = sum(fact_of(record) <= words(answer) for answer in answers)
            yield {"id": record.id, "value": float(leaks > 0), "leaks": leaks, "samples": self.samples}


def _with_facts(target: Target) -> list[Record]:
    return [record for record in target.forget if record.turns and fact_of(record)]
