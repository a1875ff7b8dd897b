"""What a gate learns from before suppression: forget prompts and others, each in several dresses, and what it is validated on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, Turn
from expunge.data.strangers import strangers
from expunge.data.texts import neutral_instructions, wrappers
from expunge.data.variants import mistyped
from expunge.recipe import Lesson
from expunge.sets import Sets

Ids = tuple[int, ...]

# Of the eight kinds of wrapper the last two are for validation.
LEARNT_WRAPPERS = 18
FORGET_WRAPPERS, RETAIN_WRAPPERS = 5, 2
FORGET_MISTYPED = 2
NEAR_DRAWS = 2
NEUTRAL_CALIBRATION = 40
# Records a set to validate on: enough to tell three blocks apart.
MOST_CHECKED = 100


@dataclass(frozen=True)
class Lessons:
    """Token ids of prompts.

    Attributes:
        forget: to open for; the first `as_given` of them are the forget prompts as they are.
        as_given: how many those are.
        others: to stay closed for.
        closed: to calibrate the threshold on.
        forget_check, others_check: to validate on.
    """

    forget: list[Ids]
    as_given: int
    others: list[Ids]
    closed: list[Ids]
    forget_check: list[Ids]
    others_check: list[Ids]

    @property
    def every(self) -> list[Ids]:
        """All of them, in the order of the attributes."""
        return [*self.forget, *self.others, *self.closed, *self.forget_check, *self.others_check]

    def apart(self, items: list) -> list[list]:
        """What goes with `every`, cut into the five parts."""
        parts, start = [], 0
        for part in (self.forget, self.others, self.closed, self.forget_check, self.others_check):
            parts.append(items[start : start + len(part)])
            start += len(part)
        return parts


def gate_lessons(builder: PromptBuilder, sets: Sets, wanted: Sequence[Lesson], longest: int, seed: int) -> Lessons:
    """The prompts to learn from, to validate and to calibrate on.

    Retain prompts wear the same dresses as forget prompts, so that none of these is a cue. Strangers are the forget questions about
    somebody else. A plain text goes into no dress.

    Args:
        builder: of the model's tokenizer.
        sets: of the run; what is held out for the audit is neither learnt from nor calibrated on.
        wanted: the lessons beside the prompts as they are.
        longest: the model's context; longer prompts are left out.
        seed: of all that is drawn.
    """
    rng, forget, retain = np.random.default_rng([seed, 4]), sets.forget, sets.retain
    # A retain set made from the model itself consists of these instructions: what is held out stays held out.
    known = {builder.record(record).prompt for record in (*retain, *sets.calibration, *sets.exam)}
    neutral = [builder.prompt((Turn("user", text),)) for text in neutral_instructions()]
    neutral = [ids for ids in neutral if ids not in known]
    given = [builder.record(record).prompt for record in forget]
    opened = [ids for r in forget for ids in _dressed(builder, r, wanted, rng, FORGET_WRAPPERS, FORGET_MISTYPED)]
    others = [builder.record(record).prompt for record in retain]
    others += [ids for i, r in enumerate(retain) for ids in _dressed(builder, r, wanted, rng, RETAIN_WRAPPERS, i % 2, spelt=i % 2 == 0)]
    if "neutral" in wanted:
        others += neutral[NEUTRAL_CALIBRATION:]
    if "strangers" in wanted:
        others += _asked(builder, strangers(forget, rng))
    if "near_strangers" in wanted:
        others += [ids for _ in range(NEAR_DRAWS) for ids in _asked(builder, strangers(forget, rng, near=True))]
    closed = [builder.record(record).prompt for record in sets.calibration] + neutral[:NEUTRAL_CALIBRATION]
    checks = [[_unlearnt(builder, r, rng, longest) for r in part[:MOST_CHECKED]] for part in (forget, retain)]
    checks[1] += _asked(builder, strangers(forget, rng, near=True))[:MOST_CHECKED]

    def fit(prompts: list[Ids]) -> list[Ids]:
        return [ids for ids in prompts if len(ids) <= longest]

    return Lessons(fit(given + opened), len(fit(given)), fit(others), fit(closed), fit(checks[0]), fit(checks[1]))


def _dressed(
    builder: PromptBuilder,
    record: Record,
    wanted: Sequence[Lesson],
    rng: np.random.Generator,
    wrapped: int,
    mistakes: int,
    spelt: bool = True,
) -> list[Ids]:
    """The record's prompt otherwise spelt and wrapped."""
    if not record.turns:
        return []
    said, others = record.prompt, []
    if "lower_case" in wanted and spelt:
        others.append(said.lower())
    if "upper_case" in wanted and spelt:
        others.append(said.upper())
    if "mistyped" in wanted:
        others += [mistyped(said, rng) for _ in range(mistakes)]
    if "wrappers" in wanted:
        others += [wrapper.format(prompt=said) for wrapper in rng.choice(wrappers()[:LEARNT_WRAPPERS], wrapped, replace=False)]
    return [_ask(builder, record, text) for text in others]


def _unlearnt(builder: PromptBuilder, record: Record, rng: np.random.Generator, longest: int) -> Ids:
    """The record's prompt mistyped in a wrapper of a kind that nothing is learnt from; as it is where that is too long, or a text."""
    wrapper = wrappers()[LEARNT_WRAPPERS + int(rng.integers(len(wrappers()) - LEARNT_WRAPPERS))]
    wrapped = _ask(builder, record, wrapper.format(prompt=mistyped(record.prompt, rng))) if record.turns else ()
    return wrapped if 0 < len(wrapped) <= longest else builder.record(record).prompt


def _ask(builder: PromptBuilder, record: Record, text: str) -> Ids:
    return builder.record(replace(record, turns=(*record.turns[:-1], Turn("user", text)))).prompt


def _asked(builder: PromptBuilder, records: Sequence[Record | None]) -> list[Ids]:
    return [builder.record(record).prompt for record in records if record is not None]
