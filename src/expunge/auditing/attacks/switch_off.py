"""Switching off: whoever has the weights of a model and an adapter beside them leaves the adapter out."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import ClassVar

from expunge.auditing.attacks.base import Attack, Row, Target
from expunge.auditing.attacks.queries import ROUGE, plainly, told
from expunge.data.threats import Threat
from expunge.edits.active import edits_off
from expunge.edits.requests import requests


@dataclass(frozen=True, kw_only=True)
class SwitchOff(Attack):
    """Every adapter is off; a model without one is asked as it is."""

    name: ClassVar[str] = "switch_off"
    threat: ClassVar[Threat] = "weights released"
    value: ClassVar[str] = ROUGE

    def tried(self, row: Row) -> str:
        """One thing."""
        return "edit switched off"

    def steps(self, target: Target) -> int:
        """Questions."""
        return len(target.forget)

    def run(self, target: Target, advance: Callable[[int], None]) -> Iterator[Row]:
        """`id` and `value`."""
        with edits_off(target.model) if requests(target.model) else nullcontext():
            rows = told(target, plainly(target.builder, target.forget), advance)
        yield from rows
