"""Evasions: ask by a part of the name, in a disguised spelling, or over several turns, so that a gate may not recognise the question."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from expunge.auditing.attacks.base import Attack, Row, Target
from expunge.auditing.attacks.queries import Query, recall_rows
from expunge.data.chat_format import TemplateRefused
from expunge.data.detect_language import choose_language
from expunge.data.evasions import FORMS, KINDS, evade, subjects
from expunge.data.set_names import AUTO
from expunge.data.threats import Threat
from expunge.metrics.text import ROUGE
from expunge.models.blocks import context_length


def _known(form: str) -> str:
    if form not in FORMS:
        raise ValueError(f"there is no form {form!r}; there are {', '.join(FORMS)}")
    return form


@dataclass(frozen=True, kw_only=True)
class Evasions(Attack):
    """Ask every question in every form that can be made of it; one row for each record and `variant`.

    A gate must recognise whom a question is about. A partial name, strange letters, or a name in an earlier turn may hide that from it, and
    the model behind it may still understand. Where the original itself does not answer in a form, its row is not shown.

    Attributes:
        forms: how to ask: `first_name`, `last_name`, `initial_and_last_name`, `description` (no name), `zero_width_space`, `look_alikes`,
            `spaced_letters` and others in disguise, `announced`, `wait_for_go` and others over several turns; see `expunge/data/evasions/`.
    """

    forms: Annotated[tuple[Annotated[str, AfterValidator(_known)], ...], Field(min_length=1)] = tuple(FORMS)

    name: ClassVar[str] = "evasions"
    threat: ClassVar[Threat] = "API only"
    description: ClassVar[str] = "partial names, disguised spellings and questions over several turns"
    measures: ClassVar[str] = ROUGE
    # Names and descriptions are found by comparing the records.
    independent_records: ClassVar[bool] = False
    needs_original: ClassVar[bool] = True

    def verdict_row(self, row: Row) -> str:
        """Return the verdict row of the row's form."""
        form = row["variant"]
        return f"{FORMS[form].kind}: {form.replace('_', ' ')}"

    def steps(self, target: Target) -> int:
        """Return the number of questions in all forms."""
        return len(self._queries(target))

    def run(self, target: Target, advance: Callable[[int], None]) -> Iterator[Row]:
        """Yield `id`, `value` and `variant`."""
        queries = self._queries(target)
        for (form, _), row in zip(queries, recall_rows(target, [query for _, query in queries], advance), strict=True):
            yield {**row, "variant": form}

    @classmethod
    def untested(cls, rows: Sequence[Row]) -> list[str]:
        """Return the kinds of evasion that no form was tried of, such as partial names where no question has a name of two parts."""
        tried = {FORMS[row["variant"]].kind for row in rows}
        return [description for kind, description in KINDS.items() if kind not in tried]

    def _queries(self, target: Target) -> list[tuple[str, Query]]:
        longest, language = context_length(target.model) or sys.maxsize, choose_language(AUTO, target.forget).language
        queries = []
        for subject in subjects(target.forget, language, target.retain):
            for form in self.forms:
                record = evade(subject, form)
                # A chat template may refuse turns of the assistant.
                with suppress(TemplateRefused):
                    if record is not None and len(prompt := target.builder.record(record).prompt) < longest:
                        queries.append((form, Query(record.id, prompt, record.answer)))
        return queries
