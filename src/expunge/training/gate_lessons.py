"""What a gate learns from before suppression: forget prompts and others, each in several dresses, and what it is validated on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, Turn
from expunge.data.strangers import strangers
from expunge.data.texts import neutral_instructions, wrappers
from expunge.data.variants import mistyped
from expunge.sections import Lesson
from expunge.sets import Sets

Ids = tuple[int, ...]

# Of the eight kinds of wrapper the last two are for validation.
LEARNT_WRAPPERS = 18
FORGET_WRAPPERS, RETAIN_WRAPPERS = 5, 2
FORGET_MISTYPED = 2
NEAR_DRAWS, POOL_DRAWS = 2, 3
NOTES, NOTE_LENGTH = 3, 200
WITH_NOTES = ("My notes: {notes}\n\n{prompt}", "{prompt}\n\nWhat I have written down so far: {notes}", "{notes}\n---\n{prompt}")
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
        pool: others of which only the hardest are learnt from, see `expunge.training.gate_first.fit_on`.
        closed: to calibrate the threshold on.
        forget_check, others_check: to validate on.
    """

    forget: list[Ids]
    as_given: int
    others: list[Ids]
    pool: list[Ids]
    closed: list[Ids]
    forget_check: list[Ids]
    others_check: list[Ids]

    @property
    def every(self) -> list[Ids]:
        """All of them, in the order of the attributes."""
        return [ids for part in self._parts for ids in part]

    def apart(self, items: list) -> list[list]:
        """What goes with `every`, cut into its parts."""
        parts, start = [], 0
        for part in self._parts:
            parts.append(items[start : start + len(part)])
            start += len(part)
        return parts

    @property
    def _parts(self) -> tuple[list[Ids], ...]:
        return self.forget, self.others, self.pool, self.closed, self.forget_check, self.others_check


def gate_lessons(builder: PromptBuilder, sets: Sets, wanted: Sequence[Lesson], longest: int, seed: int) -> Lessons:
    """The prompts to learn from, to validate and to calibrate on.

    Retain prompts wear the same dresses as forget prompts, so that none of these is a cue. Strangers are the forget questions about
    somebody else. A plain text goes into no dress. Each lesson draws on its own: without one the others are what they were.

    Args:
        builder: of the model's tokenizer.
        sets: of the run; what is held out for the audit is neither learnt from nor calibrated on.
        wanted: the lessons beside the prompts as they are.
        longest: the model's context; longer prompts are left out.
        seed: of all that is drawn.
    """
    forget, retain = sets.forget, sets.retain
    # A retain set made from the model itself consists of these instructions: what is held out stays held out.
    known = {builder.record(record).prompt for record in (*retain, *sets.calibration, *sets.exam)}
    neutral = [builder.prompt((Turn("user", text),)) for text in neutral_instructions()]
    neutral = [ids for ids in neutral if ids not in known]
    given = [builder.record(record).prompt for record in forget]
    opened = _dressed(builder, forget, forget, forget * FORGET_MISTYPED, wanted, FORGET_WRAPPERS, [seed, 4, 0])
    others = [builder.record(record).prompt for record in retain]
    others += _dressed(builder, retain, retain[::2], retain[1::2], wanted, RETAIN_WRAPPERS, [seed, 4, 1])
    if "notes" in wanted:
        opened += _with_notes(builder, forget, retain, np.random.default_rng([seed, 4, 5]))
        others += _with_notes(builder, retain, retain, np.random.default_rng([seed, 4, 6]))
    if "neutral" in wanted:
        others += neutral[NEUTRAL_CALIBRATION:]
    if "strangers" in wanted:
        others += _asked(builder, strangers(forget, np.random.default_rng([seed, 4, 2])))
    if "near_strangers" in wanted:
        rng = np.random.default_rng([seed, 4, 3])
        others += [ids for _ in range(NEAR_DRAWS) for ids in _asked(builder, strangers(forget, rng, near=True))]
    pool: list[Ids] = []
    if "mined" in wanted:
        rng = np.random.default_rng([seed, 4, 7])
        pool += [ids for _ in range(POOL_DRAWS) for ids in _asked(builder, strangers(forget, rng, near=True))]
        pool += _dressed(builder, retain, [], retain, ("mistyped", "wrappers"), RETAIN_WRAPPERS, [seed, 4, 8])
        pool += _with_notes(builder, retain, retain, rng)
    closed = [builder.record(record).prompt for record in sets.calibration] + neutral[:NEUTRAL_CALIBRATION]
    rng = np.random.default_rng([seed, 4, 4])
    checks = [[_unlearnt(builder, r, rng, longest) for r in part[:MOST_CHECKED]] for part in (forget, retain)]
    checks[1] += _asked(builder, strangers(forget, rng, near=True))[:MOST_CHECKED]

    def fit(prompts: list[Ids]) -> list[Ids]:
        return [ids for ids in prompts if len(ids) <= longest]

    return Lessons(fit(given + opened), len(fit(given)), fit(others), fit(pool), fit(closed), fit(checks[0]), fit(checks[1]))


def _dressed(
    builder: PromptBuilder,
    records: Sequence[Record],
    spelt: Sequence[Record],
    to_mistype: Sequence[Record],
    wanted: Sequence[Lesson],
    wrapped: int,
    seed: list[int],
) -> list[Ids]:
    """The records' prompts each in some wrappers, those of some of them in lower and upper case, of some with mistakes."""
    said: list[tuple[Record, str]] = []
    if "lower_case" in wanted:
        said += [(record, record.prompt.lower()) for record in spelt]
    if "upper_case" in wanted:
        said += [(record, record.prompt.upper()) for record in spelt]
    if "mistyped" in wanted:
        rng = np.random.default_rng([*seed, 0])
        said += [(record, mistyped(record.prompt, rng)) for record in to_mistype]
    if "wrappers" in wanted:
        rng = np.random.default_rng([*seed, 1])
        for record in records:
            chosen = rng.choice(wrappers()[:LEARNT_WRAPPERS], wrapped, replace=False)
            said += [(record, wrapper.format(prompt=record.prompt)) for wrapper in chosen]
    return [_ask(builder, record, text) for record, text in said if record.turns]


def _with_notes(builder: PromptBuilder, records: Sequence[Record], retain: Sequence[Record], rng: np.random.Generator) -> list[Ids]:
    """The records' prompts before or after answers to retain questions: what is said beside a question is no cue either."""
    said = []
    for record in (record for record in records if record.turns):
        notes = " ".join(retain[i].answer[:NOTE_LENGTH] for i in rng.integers(len(retain), size=NOTES))
        said.append(_ask(builder, record, str(rng.choice(WITH_NOTES)).format(prompt=record.prompt, notes=notes)))
    return said


def _unlearnt(builder: PromptBuilder, record: Record, rng: np.random.Generator, longest: int) -> Ids:
    """The record's prompt mistyped in a wrapper of a kind that nothing is learnt from; as it is where that is too long, or a text."""
    wrapper = wrappers()[LEARNT_WRAPPERS + int(rng.integers(len(wrappers()) - LEARNT_WRAPPERS))]
    wrapped = _ask(builder, record, wrapper.format(prompt=mistyped(record.prompt, rng))) if record.turns else ()
    return wrapped if 0 < len(wrapped) <= longest else builder.record(record).prompt


def _ask(builder: PromptBuilder, record: Record, text: str) -> Ids:
    return builder.record(replace(record, turns=(*record.turns[:-1], Turn("user", text)))).prompt


def _asked(builder: PromptBuilder, records: Sequence[Record | None]) -> list[Ids]:
    return [builder.record(record).prompt for record in records if record is not None]
