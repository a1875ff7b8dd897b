"""Make prompt variants that a gate trains on: other spellings, wrappers, and questions next to other text. Attacks use none of these."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from expunge.config import Augmentation
from expunge.data.languages import Language
from expunge.data.misspell import misspell
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, Turn

Ids = tuple[int, ...]

NOTES, NOTE_CHARS = 3, 200
REQUESTS = 2
"""Requests to continue each passage."""


def respelled_and_wrapped(
    builder: PromptBuilder,
    records: Sequence[Record],
    to_recase: Sequence[Record],
    to_misspell: Sequence[Record],
    augmentations: Sequence[Augmentation],
    wrappers_each: int,
    seed: list[int],
    language: Language,
) -> list[Ids]:
    """Return prompts in other spellings and in wrappers, as far as `augmentations` names them.

    Args:
        builder: of the model's tokenizer.
        records: to put into wrappers; a passage is put into requests to continue it, where the model has a chat template.
        to_recase: to write in lower case and in upper case.
        to_misspell: to add spelling mistakes to.
        augmentations: which variants to make.
        wrappers_each: wrappers for each record.
        seed: of mistakes and of the choice of wrappers.
        language: of the wrappers.
    """
    prompts: list[Ids] = []
    if "lower_case" in augmentations:
        prompts += [_respelled(builder, record, _text(record).lower()) for record in to_recase if _has_case(record)]
    if "upper_case" in augmentations:
        prompts += [_respelled(builder, record, _text(record).upper()) for record in to_recase if _has_case(record)]
    if "typos" in augmentations:
        rng = np.random.default_rng([*seed, 0])
        prompts += [_respelled(builder, record, misspell(_text(record), rng)) for record in to_misspell]
    if "wrappers" in augmentations:
        rng = np.random.default_rng([*seed, 1])
        for record in records:
            chosen = rng.choice(language.wrappers, wrappers_each, replace=False)
            prompts += [_prompt(builder, record, wrapper.format(prompt=record.prompt)) for wrapper in chosen if record.turns]
            if record.is_passage:
                templates = [str(template) for template in rng.permutation(language.continuations)[:REQUESTS]]
                prompts += _requests(builder, record, record.given, templates)
    return prompts


def with_context(
    builder: PromptBuilder, record: Record, retain: Sequence[Record], kind: str, rng: np.random.Generator, language: Language
) -> list[Ids]:
    """Return the record's prompt next to other text, so that the gate learns to ignore such text; nothing for a plain text.

    Args:
        builder: of the model's tokenizer.
        record: whose question it is.
        retain: the retain set, from which notes and few-shot examples are drawn.
        kind: `retain_notes`, `few_shot` or `unrelated_text`, see `context_templates.yaml`.
        rng: draws the template and what fills it.
        language: of the templates.
    """
    if not record.turns:
        return []
    slots = {"prompt": record.prompt}
    if kind == "retain_notes":
        slots["notes"] = " ".join(retain[i].answer[:NOTE_CHARS] for i in rng.integers(len(retain), size=NOTES))
    elif kind == "few_shot":
        for place, i in enumerate(rng.integers(len(retain), size=2), 1):
            slots |= {f"other{place}": retain[i].prompt, f"other{place}_answer": retain[i].answer[:NOTE_CHARS]}
    else:
        slots["unrelated"] = str(rng.choice(language.unrelated_texts))
    return [_prompt(builder, record, str(rng.choice(language.contexts[kind])).format_map(slots))]


def unrelated_prompts(builder: PromptBuilder, language: Language) -> list[Ids]:
    """Return prompts of the shipped unrelated texts alone, without a question of any record."""
    return [builder.prompt((Turn("user", text),)) for text in language.unrelated_prompts]


def held_out_variant(builder: PromptBuilder, record: Record, rng: np.random.Generator, language: Language) -> list[Ids]:
    """Return the record's prompt misspelled and in a wrapper of a kind that no gate trains on, or a passage in such a request."""
    wrapper = language.held_out_wrappers[int(rng.integers(len(language.held_out_wrappers)))]
    if record.turns:
        return [_prompt(builder, record, wrapper.format(prompt=misspell(record.prompt, rng)))]
    return _requests(builder, record, misspell(record.given, rng), language.held_out_continuations[:1]) if record.is_passage else []


def _requests(builder: PromptBuilder, record: Record, text: str, templates: Sequence[str]) -> list[Ids]:
    """Return chat prompts that ask to continue the beginning of a passage; none without a chat template."""
    if not builder.format.is_chat:
        return []
    return [builder.prompt((Turn("user", template.replace("{text}", text)),)) for template in templates]


def _text(record: Record) -> str:
    return record.prompt if record.turns else record.given if record.is_passage else record.answer


def _has_case(record: Record) -> bool:
    """Return whether a text has letters in two cases, or none at all; in other scripts it would only come once more."""
    text = _text(record)
    return text.lower() != text.upper() or not any(map(str.isalpha, text))


def _respelled(builder: PromptBuilder, record: Record, text: str) -> Ids:
    if record.turns:
        return builder.record(record, prompt=text).prompt
    return (*builder.start, *builder.text_ids(text)) if record.is_passage else builder.record(replace(record, answer=text)).prompt


def _prompt(builder: PromptBuilder, record: Record, text: str) -> Ids:
    return builder.record(record, prompt=text).prompt
