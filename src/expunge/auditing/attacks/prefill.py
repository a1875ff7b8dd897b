"""Prefill: the attacker puts the beginning of the true answer into the model's mouth, and has it go on."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Annotated, ClassVar

from pydantic import Field

from expunge.auditing.attacks.base import Attack, Row, Share, Target
from expunge.auditing.attacks.queries import Query, as_text, told
from expunge.data.threats import Threat
from expunge.metrics.text import rouge_l_recall


@dataclass(frozen=True, kw_only=True)
class Prefill(Attack):
    """The first tokens of the true answer are given; a row for each record and `share`.

    An answer of which nothing with a word in it is left is not asked for.

    Attributes:
        shares: of the answer's tokens that are given, each in turn; one token at least.
    """

    shares: Annotated[tuple[Share, ...], Field(min_length=1)] = (0.25, 0.5)

    name: ClassVar[str] = "prefill"
    threat: ClassVar[Threat] = "API only"
    value: ClassVar[str] = "ROUGE-L recall of the greedy continuation against the rest of the answer"

    def tried(self, row: Row) -> str:
        """By share."""
        return f"answer begun: {row['share']:.0%} of it"

    def steps(self, target: Target) -> int:
        """Beginnings."""
        return len(_begun(target, self.shares))

    def run(self, target: Target, advance: Callable[[int], None]) -> Iterator[Row]:
        """`id`, `value` and `share`."""
        begun = _begun(target, self.shares)
        for (share, _), row in zip(begun, told(target, [query for _, query in begun], advance), strict=True):
            yield {**row, "share": share}


def _begun(target: Target, shares: Sequence[float]) -> list[tuple[float, Query]]:
    """Prompts that go on with a share of the answer; what is wanted is the rest of it."""
    begun = []
    for share, record in product(shares, target.forget):
        row = target.builder.record(record)
        given = max(1, round(share * len([token for token in row.answer if token != target.builder.end_of_turn])))
        rest = as_text(target.builder, row.answer[given:])
        # ROUGE counts words; what has none is told by nobody.
        if rouge_l_recall(rest, rest):
            begun.append((share, Query(record.id, (*row.prompt, *row.answer[:given]), rest)))
    return begun
