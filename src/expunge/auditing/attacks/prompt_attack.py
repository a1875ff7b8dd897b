"""Prompt attack: ask the question in other words, spellings and wrappers, from templates in YAML."""

import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from expunge.auditing.attacks.base import Attack, Row, Target
from expunge.auditing.attacks.queries import Query, recall_rows
from expunge.data.prompt_templates import SHIPPED, PromptTemplate, PromptVariant, prompt_variants, read_prompt_templates
from expunge.data.records import Record
from expunge.data.threats import Threat
from expunge.metrics.text import ROUGE
from expunge.models.blocks import context_length

CROSS_LINGUAL = "cross_lingual"
"""The shipped prompt variant that asks for an answer in another language."""

TOO_LONG = "Attack %s: %d of %d prompts are left out, because they are longer than the model's context, %d tokens."

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PromptAttack(Attack):
    """Ask every question in every prompt variant that fits it; one row for each record and `variant`.

    Where a template gives away half of the answer, only the other half counts. A template with the whole answer is left out: the
    model could repeat it without remembering it.

    Attributes:
        templates: a YAML file of templates; none: the shipped ones, see `expunge/data/texts/attacks.yaml`.
    """

    templates: str | None = None

    name: ClassVar[str] = "prompts"
    threat: ClassVar[Threat] = "API only"
    description: ClassVar[str] = "the answers to adversarial prompts"
    measures: ClassVar[str] = ROUGE

    def __post_init__(self) -> None:
        self._read()

    @property
    def files(self) -> list[Path]:
        """Return the user's file of templates, if there is one."""
        return [] if self.templates is None else [Path(self.templates)]

    def verdict_row(self, row: Row) -> str:
        """Return the verdict row of the row's variant."""
        return f"prompt variant: {row['variant'].replace('_', ' ')}"

    def steps(self, target: Target) -> int:
        """Return the number of prompts."""
        return len(self._queries(target))

    def run(self, target: Target, advance: Callable[[int], None]) -> Iterator[Row]:
        """Yield `id`, `value` and `variant`."""
        queries = self._queries(target, announce=True)
        for (variant, _), row in zip(queries, recall_rows(target, [query for _, query in queries], advance), strict=True):
            yield {**row, "variant": variant}

    def left_out(self, target: Target) -> Mapping[str, str]:
        """Return the rows of the variants that the model has room for in no record."""
        longest, fits = context_length(target.model) or sys.maxsize, dict[str, bool]()
        for variant in self._variants(target):
            fits[variant.name] = fits.get(variant.name, False) or len(variant.ids) < longest
        reason = f"all prompts are longer than the model's context, {longest} tokens"
        return {self.verdict_row({"variant": name}): reason for name, one_fits in fits.items() if not one_fits}

    @classmethod
    def untested(cls, rows: Sequence[Row]) -> list[str]:
        """Also name other languages, if no variant was in one."""
        return super().untested(rows) + ([] if any(row["variant"] == CROSS_LINGUAL for row in rows) else ["other languages"])

    def _queries(self, target: Target, announce: bool = False) -> list[tuple[str, Query]]:
        longest = context_length(target.model) or sys.maxsize
        variants = list(self._variants(target))
        if announce and (too_long := sum(len(variant.ids) >= longest for variant in variants)):
            log.warning(TOO_LONG, self.name, too_long, len(variants), longest)
        return [
            (variant.name, Query(variant.record.id, variant.ids, hidden_answer(variant.template, variant.record)))
            for variant in variants
            if len(variant.ids) < longest
        ]

    def _variants(self, target: Target) -> Iterator[PromptVariant]:
        return prompt_variants(self._read(), target.builder, target.forget, target.retain, target.seed)

    def _read(self) -> dict[str, list[PromptTemplate]]:
        variants = read_prompt_templates(SHIPPED if self.templates is None else Path(self.templates))
        return {name: [template for template in templates if "answer" not in template.slots] for name, templates in variants.items()}


def hidden_answer(template: PromptTemplate, record: Record) -> str:
    """Return the part of a record's answer that the template does not give away."""
    words = record.answer.split()
    return " ".join(words[(len(words) + 1) // 2 :]) if "half" in template.slots else record.answer
