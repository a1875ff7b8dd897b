"""Switch-off attack: whoever has a model and its adapter can leave the adapter out."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import ClassVar

from expunge.auditing.attacks.base import Attack, Row, Target
from expunge.auditing.attacks.queries import plain_queries, recall_rows
from expunge.data.threats import Threat
from expunge.edits.active import edits_off
from expunge.edits.requests import requests
from expunge.metrics.text import ROUGE


@dataclass(frozen=True, kw_only=True)
class SwitchOff(Attack):
    """Query the model with every adapter off; a model without an adapter is queried unchanged."""

    name: ClassVar[str] = "switch_off"
    threat: ClassVar[Threat] = "weights released"
    description: ClassVar[str] = "leaving the edit out"
    measures: ClassVar[str] = ROUGE
    removes_edit: ClassVar[bool] = True

    def verdict_row(self, row: Row) -> str:
        return "edit switched off"

    def steps(self, target: Target) -> int:
        """Return the number of records."""
        return len(target.forget)

    def run(self, target: Target, advance: Callable[[int], None]) -> Iterator[Row]:
        """Yield `id` and `value`."""
        with edits_off(target.model) if requests(target.model) else nullcontext():
            rows = recall_rows(target, plain_queries(target.builder, target.forget), advance)
        yield from rows
