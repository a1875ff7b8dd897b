"""The question in another dress: RWKU's prompt attacks (Jin et al., 2024, arXiv 2406.10890) and more, from templates in YAML."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from expunge.auditing.attacks.base import Attack, Row, Target, Threat
from expunge.auditing.attacks.prompt_templates import SHIPPED, Template, read_attacks, worn
from expunge.auditing.attacks.queries import ROUGE, Query, told
from expunge.data.records import Record
from expunge.models.blocks import context_length


@dataclass(frozen=True, kw_only=True)
class Prompted(Attack):
    """Every question in every dress that it can wear; a row for each record and `dress`.

    Of an answer that a template gives away in part the rest counts; a template with all of it is left out: an echo is no memory.

    Attributes:
        templates: a YAML file of templates; none: the shipped ones, see `expunge/data/texts/attacks.yaml`.
    """

    templates: str | None = None

    name: ClassVar[str] = "prompts"
    threat: ClassVar[Threat] = "API only"
    value: ClassVar[str] = ROUGE

    def __post_init__(self) -> None:
        self._read()

    @property
    def files(self) -> list[Path]:
        """The templates, if they are the user's."""
        return [] if self.templates is None else [Path(self.templates)]

    def tried(self, row: Row) -> str:
        """By dress."""
        return f"asked in another dress: {row['dress'].replace('_', ' ')}"

    def steps(self, target: Target) -> int:
        """Prompts."""
        return len(self._dressed(target))

    def run(self, target: Target, advance: Callable[[int], None]) -> Iterator[Row]:
        """`id`, `value` and `dress`."""
        dressed = self._dressed(target)
        for (dress, _), row in zip(dressed, told(target, [query for _, query in dressed], advance), strict=True):
            yield {**row, "dress": dress}

    def _dressed(self, target: Target) -> list[tuple[str, Query]]:
        longest = context_length(target.model) or sys.maxsize
        every = worn(self._read(), target.builder, target.forget, target.retain, target.seed)
        return [(one.dress, Query(one.record.id, one.ids, not_given(one.template, one.record))) for one in every if len(one.ids) < longest]

    def _read(self) -> dict[str, list[Template]]:
        attacks = read_attacks(SHIPPED if self.templates is None else Path(self.templates))
        return {name: [template for template in templates if "answer" not in template.slots] for name, templates in attacks.items()}


def not_given(template: Template, record: Record) -> str:
    """What of a record's answer the template does not tell."""
    words = record.answer.split()
    return " ".join(words[(len(words) + 1) // 2 :]) if "half" in template.slots else record.answer
