"""Prompt templates in YAML: a record's question in other words and wrappers (after RWKU, Jin et al., 2024, arXiv 2406.10890)."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Any

import numpy as np

from expunge.data.chat_format import TemplateRefused
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, Turn
from expunge.data.template_slots import fill_slots
from expunge.data.texts import FOLDER
from expunge.documents import read_yaml
from expunge.errors import InputError

SHIPPED = FOLDER / "attacks.yaml"
ROLES = ("user", "assistant")
SLOTS = {"prompt", "paraphrase", "lower", "upper", "typos", "synonyms", "answer", "half", "options", "filler"}
SLOTS |= {f"other{i}{part}" for i in (1, 2) for part in ("", "_answer")}


@dataclass(frozen=True)
class PromptTemplate:
    """A template that turns a question into a prompt, with slots such as `{prompt}`.

    Attributes:
        turns: messages of user and assistant in turn, the user's first and last; empty for a raw template.
        system: a system message.
        start: the beginning of the answer, which the attacker gives.
        raw: the whole prompt as text, without a chat template.
    """

    turns: tuple[str, ...] = ()
    system: str | None = None
    start: str | None = None
    raw: str | None = None

    @property
    def slots(self) -> set[str]:
        """The names of the slots."""
        texts = [*self.turns, *(text for text in (self.system, self.start, self.raw) if text)]
        return {name for text in texts for _, name, _, _ in Formatter().parse(text) if name is not None}

    def fits(self, record: Record, values: Mapping[str, str]) -> bool:
        """Whether every slot has a value, and the template has room for the record's earlier turns (a raw template has none)."""
        return self.slots <= values.keys() and (self.raw is None or len(record.turns) == 1)

    def encode(self, builder: PromptBuilder, record: Record, values: Mapping[str, str]) -> tuple[int, ...]:
        """Return the token ids of the whole prompt: the record's earlier turns, then the filled template."""
        if self.raw is not None:
            return builder.plain_text(self.raw.format_map(values))
        turns = list(record.turns[:-1])
        if self.system is not None:
            turns = [Turn("system", self.system.format_map(values)), *(turn for turn in turns if turn.role != "system")]
        turns += [Turn(ROLES[i % 2], text.format_map(values)) for i, text in enumerate(self.turns)]
        start = () if self.start is None else builder.unfinished_answer(self.start.format_map(values))
        return (*builder.prompt(tuple(turns)), *start)


Templates = Mapping[str, Sequence[PromptTemplate]]
"""{prompt variant: its templates}"""


@dataclass(frozen=True)
class PromptVariant:
    """A prompt: a record's question in one template.

    Attributes:
        name: of the variant, as the YAML file has it.
        template: the one of the variant's templates that was used.
        record: whose question it is.
        ids: token ids of the whole prompt.
    """

    name: str
    template: PromptTemplate
    record: Record
    ids: tuple[int, ...]


def read_prompt_templates(path: Path = SHIPPED) -> dict[str, list[PromptTemplate]]:
    """Read a YAML file of prompt variants: {variant: its templates}.

    Raises:
        InputError: a template does not have the form that the shipped file describes; the message names its variant.
    """
    variants = {}
    for name, given in read_yaml(path).items():
        if not isinstance(given, list) or not given:
            raise InputError(f"{path}: {name}: is not a list of templates")
        variants[str(name)] = [_check_template(f"{path}: {name}", one) for one in given]
    return variants


def prompt_variants(
    templates: Mapping[str, Sequence[PromptTemplate]],
    builder: PromptBuilder,
    records: Sequence[Record],
    others: Sequence[Record],
    seed: int,
) -> Iterator[PromptVariant]:
    """Put the question of every record into every variant that fits it, record after record; a variant's templates take turns.

    Args:
        templates: {variant: its templates}, see `read_prompt_templates`.
        builder: of the model's tokenizer.
        records: with the questions; passages and continuations of answers are left out.
        others: records that an attacker may use freely, as examples and in mixed queries.
        seed: of all that is drawn.
    """
    for place, record in enumerate(record for record in records if record.is_question):
        values = fill_slots(record, others, np.random.default_rng([seed, 6, place]))
        for name, of_variant in templates.items():
            fitting = [template for template in of_variant if template.fits(record, values)]
            if fitting:
                template = fitting[place % len(fitting)]
                # A chat template may refuse two user turns in a row.
                with suppress(TemplateRefused):
                    yield PromptVariant(name, template, record, template.encode(builder, record, values))


def variants_by_name(
    templates: Mapping[str, Sequence[PromptTemplate]],
    builder: PromptBuilder,
    records: Sequence[Record],
    others: Sequence[Record],
    seed: int,
) -> dict[str, dict[str, tuple[int, ...]]]:
    """Return the prompts of `prompt_variants` as {variant: {record id: token ids}}; the arguments are the same."""
    prompts: dict[str, dict[str, tuple[int, ...]]] = {name: {} for name in templates}
    for variant in prompt_variants(templates, builder, records, others, seed):
        prompts[variant.name][variant.record.id] = variant.ids
    return {name: of_records for name, of_records in prompts.items() if of_records}


def _check_template(where: str, given: Any) -> PromptTemplate:
    """Make a template from a YAML value; `where` is the beginning of an error's message."""
    if isinstance(given, str):
        given = {"turns": [given]}
    if not isinstance(given, dict) or not set(given) <= {"system", "turns", "start", "raw"} or ("raw" in given) == ("turns" in given):
        raise InputError(f"{where}: a template is a text, or a mapping with turns (and system, start) or with raw")
    if "raw" in given and len(given) > 1:
        raise InputError(f"{where}: a raw template stands alone")
    turns = given.get("turns", [])
    texts = [*turns, *(text for name, text in given.items() if name != "turns")] if isinstance(turns, list) else [None]
    if not all(isinstance(text, str) and text for text in texts) or ("turns" in given and len(turns) % 2 != 1):
        raise InputError(f"{where}: its parts are texts that are not empty; of turns the user's are the first and the last")
    template = PromptTemplate(tuple(turns), given.get("system"), given.get("start"), given.get("raw"))
    try:
        unknown = template.slots - SLOTS
        # A format such as {prompt:>9999999999} would fill the memory when it is used.
        formatted = [name for text in texts for _, name, form, conversion in Formatter().parse(text) if form or conversion]
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error
    if formatted:
        raise InputError(f"{where}: a slot is its name alone, such as {{prompt}}; leave out what follows {formatted[0]}")
    if unknown:
        raise InputError(f"{where}: there is no slot {{{sorted(unknown)[0]}}}; there are {', '.join(sorted(SLOTS))}")
    return template
