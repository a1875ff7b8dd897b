"""Prefill attack: put the beginning of the true answer into the model's mouth, and let it continue."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Annotated, ClassVar

from pydantic import Field

from expunge.auditing.attacks.base import Attack, Row, Share, Target
from expunge.auditing.attacks.queries import Query, recall_rows
from expunge.data.threats import Threat
from expunge.models.generation import as_text


@dataclass(frozen=True, kw_only=True)
class Prefill(Attack):
    """Prefill the first tokens of the true answer; one row for each record and `share`.

    An answer is left out if the rest of it has no letter and no digit: then there is nothing left to give away.

    Attributes:
        shares: of the answer's tokens that are prefilled, each in turn; at least one token.
    """

    shares: Annotated[tuple[Share, ...], Field(min_length=1)] = (0.25, 0.5)

    name: ClassVar[str] = "prefill"
    threat: ClassVar[Threat] = "API only"
    description: ClassVar[str] = "prefilled answers"
    measures: ClassVar[str] = "ROUGE-L recall of the greedy continuation against the rest of the answer"

    def verdict_row(self, row: Row) -> str:
        """Return the verdict row of the row's share."""
        return f"answer prefilled: {row['share']:.0%} of it"

    def steps(self, target: Target) -> int:
        """Return the number of queries."""
        return len(_queries(target, self.shares))

    def run(self, target: Target, advance: Callable[[int], None]) -> Iterator[Row]:
        """Yield `id`, `value` and `share`."""
        queries = _queries(target, self.shares)
        for (share, _), row in zip(queries, recall_rows(target, [query for _, query in queries], advance), strict=True):
            yield {**row, "share": share}


def _queries(target: Target, shares: Sequence[float]) -> list[tuple[float, Query]]:
    """Return prompts that end with a share of the answer; the rest of it is the expected answer."""
    queries = []
    for share, record in product(shares, target.forget):
        row = target.builder.record(record)
        prefilled = row.unscored + max(1, round(share * len([token for token in row.labels if token != target.builder.end_of_turn])))
        rest = as_text(target.builder, row.answer[prefilled:])
        if any(char.isalnum() for char in rest):
            queries.append((share, Query(record.id, (*row.prompt, *row.answer[:prefilled]), rest)))
    return queries
