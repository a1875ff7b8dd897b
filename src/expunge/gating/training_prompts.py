"""The prompts of a gate: positives and negatives to train on, prompts to validate on, and prompts to calibrate the threshold on."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from expunge.config import Augmentation
from expunge.data.chat_format import TemplateRefused
from expunge.data.other_names import with_other_names
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, Turn
from expunge.gating.augment import Ids, held_out_variant, respelled_and_wrapped, unrelated_prompts, with_context
from expunge.gating.evasion_prompts import evasion_records
from expunge.runs.splits import Splits

FORGET_WRAPPERS, RETAIN_WRAPPERS = 5, 2
FORGET_MISSPELLED = 2
SIMILAR_NAME_DRAWS, POOL_DRAWS = 2, 3
NEUTRAL_CALIBRATION = 40
# Records of each set to validate on: enough to weight three blocks.
MAX_VALIDATION = 100

Subject = Literal["names", "texts", "topic"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GatePrompts:
    """Token ids of the prompts that a gate is fitted on.

    Attributes:
        forget: prompts that the gate should open for; the first `unaugmented` of them are the forget prompts themselves.
        unaugmented: number of forget prompts without augmentation.
        negatives: prompts that the gate should stay closed for.
        pool: further negatives; the gate trains only on the hardest of them, see `expunge.gating.fit.fit_on_states`.
        calibration: prompts to choose the threshold on; each item holds a prompt and its variants.
        forget_validation, negative_validation: prompts to validate on.
        subject: `names` if most forget records are questions in which names can be replaced, `texts` if most are passages, else `topic`.
    """

    forget: list[Ids]
    unaugmented: int
    negatives: list[Ids]
    pool: list[Ids]
    calibration: list[list[Ids]]
    forget_validation: list[Ids]
    negative_validation: list[Ids]
    subject: Subject

    @property
    def all(self) -> list[Ids]:
        """Every prompt, in the order of the attributes."""
        return [ids for part in self._parts for ids in part]

    def split(self, items: Any) -> list[Any]:
        """Cut a sequence that is parallel to `all` into one part for each attribute; the calibration part stays flat."""
        parts, start = [], 0
        for part in self._parts:
            parts.append(items[start : start + len(part)])
            start += len(part)
        return parts

    @property
    def _parts(self) -> tuple[list[Ids], ...]:
        calibration = [ids for variants in self.calibration for ids in variants]
        return self.forget, self.negatives, self.pool, calibration, self.forget_validation, self.negative_validation


def gate_prompts(
    builder: PromptBuilder,
    splits: Splits,
    augmentations: Sequence[Augmentation],
    max_tokens: int,
    seed: int,
    paraphrases: tuple[Sequence[Record], Sequence[Record]] = ((), ()),
) -> GatePrompts:
    """Collect the prompts to train a gate on, to validate it on and to calibrate it on.

    Retain prompts come in the same variants as forget prompts, so that no variant gives the class away. A passage gets no context, and
    requests to continue it in place of wrappers. Every augmentation has a separate seed: leaving one out does not change the others.

    Args:
        builder: of the model's tokenizer.
        splits: of the run; the part that is held out for the audit is neither trained nor calibrated on.
        augmentations: what to train on besides the prompts themselves.
        max_tokens: the model's context length; longer prompts are left out.
        seed: of everything that is drawn.
        paraphrases: forget and retain records in other words, see `expunge.gating.fit.paraphrased_sets`.
    """
    neutral = _neutral(builder, splits)
    unaugmented = _that_fit(_prompts(builder, splits.forget), max_tokens)
    augmented = [*_forget_variants(builder, splits, augmentations, seed), *_prompts(builder, paraphrases[0])]
    negatives = [*_prompts(builder, [*splits.retain, *paraphrases[1]]), *_retain_variants(builder, splits, augmentations, seed)]
    negatives += _other_names(builder, splits, augmentations, seed)
    evading, not_evading = evasion_records(splits, augmentations, seed)
    augmented, negatives = [*augmented, *_writable(builder, evading)], [*negatives, *_writable(builder, not_evading)]
    if "neutral_prompts" in augmentations:
        negatives += _prompts(builder, neutral[NEUTRAL_CALIBRATION:])
    pool = _pool(builder, splits, seed) if "mined_negatives" in augmentations else []
    to_calibrate = [record for part in calibration_records(builder, splits) for record in part]
    calibration = [_that_fit(variants, max_tokens) for variants in _calibration_variants(builder, to_calibrate, splits, seed)]
    validation = _validation(builder, splits, max_tokens, seed)
    if too_long := sum(len(ids) > max_tokens for prompts in (augmented, negatives, pool) for ids in prompts):
        log.warning("The gate: %d prompt variants are left out, because they are longer than the model's context.", too_long)
    augmented, negatives, pool = (_that_fit(prompts, max_tokens) for prompts in (augmented, negatives, pool))
    calibration = [variants for variants in calibration if variants]
    forget, subject = unaugmented + augmented, _subject(splits)
    return GatePrompts(forget, len(unaugmented), negatives, pool, calibration, *validation, subject=subject)


def calibration_records(builder: PromptBuilder, splits: Splits) -> tuple[list[Record], list[Record]]:
    """Return the retain records and the neutral instructions that a gate is calibrated on."""
    return splits.calibration, _neutral(builder, splits)[:NEUTRAL_CALIBRATION]


def _neutral(builder: PromptBuilder, splits: Splits) -> list[Record]:
    # A retain set that the model generated consists of these instructions. Those that are held out must not be trained on.
    known = {builder.record(record).prompt for record in (*splits.retain, *splits.calibration, *splits.held_out)}
    neutral = [Record(f"neutral-{i}", (Turn("user", text),), "") for i, text in enumerate(splits.language.instructions)]
    return [record for record in neutral if builder.record(record).prompt not in known]


def _forget_variants(builder: PromptBuilder, splits: Splits, augmentations: Sequence[Augmentation], seed: int) -> list[Ids]:
    forget = splits.forget
    questions, passages = ([record for record in forget if record.is_passage == is_passage] for is_passage in (False, True))
    # A book has many passages: half of them come in another case, the others with mistakes.
    to_recase, to_misspell = [*questions, *passages[::2]], [*questions * FORGET_MISSPELLED, *passages[1::2]]
    prompts = respelled_and_wrapped(builder, forget, to_recase, to_misspell, augmentations, FORGET_WRAPPERS, [seed, 4, 0], splits.language)
    prompts += _ends_of_texts(builder, forget)
    for i, kind in enumerate(splits.language.contexts):
        if kind in augmentations:
            rng = np.random.default_rng([seed, 4, 5, i])
            prompts += [ids for record in forget for ids in with_context(builder, record, splits.retain, kind, rng, splits.language)]
    return prompts


def _retain_variants(builder: PromptBuilder, splits: Splits, augmentations: Sequence[Augmentation], seed: int) -> list[Ids]:
    # Retain records are many: each gets one kind of context, and half of them one kind of spelling each.
    retain, kinds = splits.retain, splits.language.contexts
    prompts = respelled_and_wrapped(
        builder, retain, retain[::2], retain[1::2], augmentations, RETAIN_WRAPPERS, [seed, 4, 1], splits.language
    )
    prompts += _ends_of_texts(builder, retain)
    for i, kind in enumerate(kinds):
        if kind in augmentations:
            rng = np.random.default_rng([seed, 4, 6, i])
            prompts += [
                ids for record in retain[i :: len(kinds)] for ids in with_context(builder, record, retain, kind, rng, splits.language)
            ]
    return prompts + (unrelated_prompts(builder, splits.language) if "unrelated_text" in augmentations else [])


def _ends_of_texts(builder: PromptBuilder, records: Sequence[Record]) -> list[Ids]:
    """Return the last passage of each text as a whole: its continuation is part of no other prompt."""
    following = [*(record.document for record in records[1:]), None]
    last = [record for record, after in zip(records, following, strict=True) if record.document is None or record.document != after]
    return [(*builder.start, *builder.text_ids(record.answer)) for record in last if record.is_passage]


def _other_names(builder: PromptBuilder, splits: Splits, augmentations: Sequence[Augmentation], seed: int) -> list[Ids]:
    prompts: list[Ids] = []
    if "other_names" in augmentations:
        prompts += _prompts(builder, _strangers(splits, np.random.default_rng([seed, 4, 2])))
    if "similar_names" in augmentations:
        rng = np.random.default_rng([seed, 4, 3])
        drawn = (_strangers(splits, rng, similar=True) for _ in range(SIMILAR_NAME_DRAWS))
        prompts += [ids for records in drawn for ids in _prompts(builder, records)]
    return prompts


def _pool(builder: PromptBuilder, splits: Splits, seed: int) -> list[Ids]:
    rng, retain = np.random.default_rng([seed, 4, 7]), splits.retain
    pool = [ids for _ in range(POOL_DRAWS) for ids in _prompts(builder, _strangers(splits, rng, similar=True))]
    pool += respelled_and_wrapped(builder, retain, [], retain, ("typos", "wrappers"), RETAIN_WRAPPERS, [seed, 4, 8], splits.language)
    for kind in splits.language.contexts:
        pool += [ids for record in retain for ids in with_context(builder, record, retain, kind, rng, splits.language)]
    return pool


def _strangers(splits: Splits, rng: np.random.Generator, similar: bool = False) -> list[Record | None]:
    return with_other_names(splits.forget, rng, similar, splits.language, splits.retain)


def _subject(splits: Splits) -> Subject:
    named = sum(stranger is not None and not stranger.is_passage for stranger in _strangers(splits, np.random.default_rng(0)))
    passages = sum(record.is_passage for record in splits.forget)
    if 2 * named > len(splits.forget):
        return "names"
    return "texts" if 2 * passages > len(splits.forget) else "topic"


def _calibration_variants(builder: PromptBuilder, records: Sequence[Record], splits: Splits, seed: int) -> Iterator[list[Ids]]:
    rng, language = np.random.default_rng([seed, 4, 9]), splits.language
    for record in records:
        in_context = [ids for kind in language.contexts for ids in with_context(builder, record, splits.retain, kind, rng, language)]
        yield [builder.record(record).prompt, *held_out_variant(builder, record, rng, language), *in_context]


def _validation(builder: PromptBuilder, splits: Splits, max_tokens: int, seed: int) -> tuple[list[Ids], list[Ids]]:
    """Return a held-out variant of forget and of retain prompts (or the prompt itself if it is too long), and similar-name prompts."""
    rng, validation = np.random.default_rng([seed, 4, 4]), []
    for part in (splits.forget, splits.retain):
        variants = [
            (record, _that_fit(held_out_variant(builder, record, rng, splits.language), max_tokens)) for record in part[:MAX_VALIDATION]
        ]
        validation.append(_that_fit([fitting[0] if fitting else builder.record(record).prompt for record, fitting in variants], max_tokens))
    strangers = _that_fit(_prompts(builder, _strangers(splits, rng, similar=True))[:MAX_VALIDATION], max_tokens)
    return validation[0], validation[1] + strangers


def _that_fit(prompts: Sequence[Ids], max_tokens: int) -> list[Ids]:
    return [ids for ids in prompts if len(ids) <= max_tokens]


def _prompts(builder: PromptBuilder, records: Sequence[Record | None]) -> list[Ids]:
    return [builder.record(record).prompt for record in records if record is not None]


def _writable(builder: PromptBuilder, records: Sequence[Record]) -> list[Ids]:
    """Return the prompts of records, without those whose turns the chat template refuses."""
    prompts: list[Ids] = []
    for record in records:
        with suppress(TemplateRefused):
            prompts.append(builder.record(record).prompt)
    return prompts
