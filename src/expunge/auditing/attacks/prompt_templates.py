"""Prompt attacks: a record's question in another dress, from templates in YAML (RWKU, Jin et al., 2024, arXiv 2406.10890, and more)."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Any

import numpy as np
from jinja2 import TemplateError

from expunge.auditing.attacks.template_slots import slots
from expunge.config.recipe import read_yaml
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, Turn
from expunge.data.texts import FOLDER
from expunge.errors import InputError

SHIPPED = FOLDER / "attacks.yaml"
ROLES = ("user", "assistant")
SLOTS = {"prompt", "paraphrase", "lower", "upper", "typos", "synonyms", "answer", "half", "options", "filler"}
SLOTS |= {f"other{i}{part}" for i in (1, 2) for part in ("", "_answer")}


@dataclass(frozen=True)
class Template:
    """One way to ask.

    Attributes:
        turns: what user and assistant say in turn, the user first and last; empty for a raw template.
        system: a system message.
        start: how the answer begins, as the attacker gives it.
        raw: the whole prompt as text, without a chat template.
    """

    turns: tuple[str, ...] = ()
    system: str | None = None
    start: str | None = None
    raw: str | None = None

    @property
    def slots(self) -> set[str]:
        """The names of its slots."""
        texts = [*self.turns, *(text for text in (self.system, self.start, self.raw) if text)]
        return {name for text in texts for _, name, _, _ in Formatter().parse(text) if name is not None}

    def fits(self, record: Record, filled: Mapping[str, str]) -> bool:
        """Whether it can ask for a record: its slots are filled, and what was said before has a place in it."""
        return self.slots <= filled.keys() and (self.raw is None or len(record.turns) == 1)

    def ids(self, builder: PromptBuilder, record: Record, filled: Mapping[str, str]) -> tuple[int, ...]:
        """Token ids of all that the model reads before it answers: what the record has before its question, and the template."""
        if self.raw is not None:
            return builder.raw(self.raw.format_map(filled))
        turns = list(record.turns[:-1])
        if self.system is not None:
            turns = [Turn("system", self.system.format_map(filled)), *(turn for turn in turns if turn.role != "system")]
        turns += [Turn(ROLES[i % 2], text.format_map(filled)) for i, text in enumerate(self.turns)]
        start = () if self.start is None else builder.answer_start(self.start.format_map(filled))
        return (*builder.prompt(tuple(turns)), *start)


def read_attacks(path: Path = SHIPPED) -> dict[str, list[Template]]:
    """The attacks of a YAML file, by name.

    Raises:
        InputError: naming the attack whose templates are not of the form that the shipped file describes.
    """
    attacks = {}
    for name, given in read_yaml(path).items():
        if not isinstance(given, list) or not given:
            raise InputError(f"{path}: {name}: is not a list of templates")
        attacks[str(name)] = [_template(f"{path}: {name}", one) for one in given]
    return attacks


def dressed(
    attacks: Mapping[str, Sequence[Template]], builder: PromptBuilder, records: Sequence[Record], others: Sequence[Record], seed: int
) -> dict[str, dict[str, tuple[int, ...]]]:
    """Every record in every dress that it can wear: {attack: {record id: token ids}}; the arguments are those of `worn`."""
    found: dict[str, dict[str, tuple[int, ...]]] = {name: {} for name in attacks}
    for one in worn(attacks, builder, records, others, seed):
        found[one.dress][one.record.id] = one.ids
    return {name: prompts for name, prompts in found.items() if prompts}


@dataclass(frozen=True)
class Worn:
    """A record in a dress: the attack's name, the template of it that was used, and the token ids of the whole prompt."""

    dress: str
    template: Template
    record: Record
    ids: tuple[int, ...]


def worn(
    attacks: Mapping[str, Sequence[Template]], builder: PromptBuilder, records: Sequence[Record], others: Sequence[Record], seed: int
) -> Iterator[Worn]:
    """Every record in every dress that it can wear, record after record.

    Args:
        attacks: as `read_attacks` gives them.
        builder: of the model's tokenizer.
        records: questions to ask; plain texts are left out.
        others: records that may be asked freely, for mixed queries and examples.
        seed: of all that is drawn.
    """
    for place, record in enumerate(record for record in records if record.turns):
        filled = slots(record, others, np.random.default_rng([seed, 6, place]))
        for name, templates in attacks.items():
            fitting = [template for template in templates if template.fits(record, filled)]
            if fitting:
                template = fitting[place % len(fitting)]
                # A chat template may know no system message, or not two users in a row.
                with suppress(TemplateError):
                    yield Worn(name, template, record, template.ids(builder, record, filled))


def _template(where: str, given: Any) -> Template:
    """Checked and made of a YAML value."""
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
    template = Template(tuple(turns), given.get("system"), given.get("start"), given.get("raw"))
    try:
        unknown = template.slots - SLOTS
        for text in texts:
            # A format such as {prompt:d} is only refused when it is used.
            text.format_map(dict.fromkeys(SLOTS | unknown, ""))
    except (ValueError, LookupError, AttributeError) as error:
        raise InputError(f"{where}: {error}") from error
    if unknown:
        raise InputError(f"{where}: there is no slot {{{sorted(unknown)[0]}}}; there are {', '.join(sorted(SLOTS))}")
    return template
