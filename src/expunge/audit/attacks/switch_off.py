"""Switching off: whoever has the weights of a model and an adapter beside them leaves the adapter out."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from expunge.audit.attacks.asking import ROUGE, plainly, told
from expunge.audit.attacks.base import Attack, Row, Target, Threat
from expunge.edits import edits_off, requests


@dataclass(frozen=True, kw_only=True)
class SwitchOff(Attack):
    """Every adapter is off. A model without one, such as one whose weights themselves were changed, gives no hold: no steps, no rows."""

    threat: ClassVar[Threat] = "weights released"
    value: ClassVar[str] = ROUGE

    def steps(self, target: Target) -> int:
        """Questions."""
        return len(target.forget) if requests(target.model) else 0

    def run(self, target: Target, advance: Callable[[int], None]) -> Iterator[Row]:
        """`id` and `value`."""
        if self.steps(target):
            with edits_off(target.model):
                rows = told(target, plainly(target.builder, target.forget), advance)
            yield from rows
