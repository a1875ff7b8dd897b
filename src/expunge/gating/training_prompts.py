"""What a gate learns from before suppression: forget prompts and others, each in several dresses, and what it is validated on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from expunge.config import Lesson
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, Turn
from expunge.data.strangers import strangers
from expunge.data.texts import neutral_instructions, surroundings
from expunge.gating.augment import Ids, asides_alone, spelt_and_wrapped, surrounded, unlearnt
from expunge.runs.splits import Sets

FORGET_WRAPPERS, RETAIN_WRAPPERS = 5, 2
FORGET_MISTYPED = 2
NEAR_DRAWS, POOL_DRAWS = 2, 3
NEUTRAL_CALIBRATION = 40
# Records a set to validate on: enough to weigh three blocks.
MOST_CHECKED = 100


@dataclass(frozen=True)
class Lessons:
    """Token ids of prompts.

    Attributes:
        forget: to open for; the first `as_given` of them are the forget prompts as they are.
        as_given: how many those are.
        others: to stay closed for.
        pool: others of which only the hardest are learnt from, see `expunge.gating.fit.fit_on`.
        closed: to calibrate the threshold on: each as it is, and in other dresses.
        forget_check, others_check: to validate on.
    """

    forget: list[Ids]
    as_given: int
    others: list[Ids]
    pool: list[Ids]
    closed: list[list[Ids]]
    forget_check: list[Ids]
    others_check: list[Ids]

    @property
    def every(self) -> list[Ids]:
        """All of them, in the order of the attributes."""
        return [ids for part in self._parts for ids in part]

    def apart(self, items: Any) -> list[Any]:
        """What goes with `every`, cut into its parts; that with `closed` as flat as it stands in `every`."""
        parts, start = [], 0
        for part in self._parts:
            parts.append(items[start : start + len(part)])
            start += len(part)
        return parts

    @property
    def _parts(self) -> tuple[list[Ids], ...]:
        closed = [ids for versions in self.closed for ids in versions]
        return self.forget, self.others, self.pool, closed, self.forget_check, self.others_check


def gate_lessons(
    builder: PromptBuilder,
    sets: Sets,
    wanted: Sequence[Lesson],
    longest: int,
    seed: int,
    reworded: tuple[Sequence[Record], Sequence[Record]] = ((), ()),
) -> Lessons:
    """The prompts to learn from, to validate and to calibrate on.

    Retain prompts wear the same dresses as forget prompts, so that none of these is a cue. Strangers are the forget questions about
    somebody else. A plain text goes into no dress. Each lesson draws on its own: without one the others are what they were.

    Args:
        builder: of the model's tokenizer.
        sets: of the run; what is held out for the audit is neither learnt from nor calibrated on.
        wanted: the lessons beside the prompts as they are.
        longest: the model's context; longer prompts are left out.
        seed: of all that is drawn.
        reworded: forget and retain records in other words, see `expunge.gating.paraphrase.own_paraphrases`.
    """
    # A retain set made from the model itself consists of these instructions: what is held out stays held out.
    known = {builder.record(record).prompt for record in (*sets.retain, *sets.calibration, *sets.exam)}
    neutral = [Record(f"neutral-{i}", (Turn("user", text),), "") for i, text in enumerate(neutral_instructions())]
    neutral = [record for record in neutral if builder.record(record).prompt not in known]
    given = _fit(_prompts(builder, sets.forget), longest)
    opened = [*_dressed_forget(builder, sets, wanted, seed), *_prompts(builder, reworded[0])]
    others = [*_prompts(builder, [*sets.retain, *reworded[1]]), *_dressed_retain(builder, sets, wanted, seed)]
    others += _strangers(builder, sets, wanted, seed)
    if "neutral" in wanted:
        others += _prompts(builder, neutral[NEUTRAL_CALIBRATION:])
    pool = _pool(builder, sets, seed) if "mined" in wanted else []
    to_calibrate = [*sets.calibration, *neutral[:NEUTRAL_CALIBRATION]]
    closed = [_fit(versions, longest) for versions in _in_all_dresses(builder, to_calibrate, sets.retain, seed)]
    checks = _checks(builder, sets, longest, seed)
    learnt, others, pool = (_fit(prompts, longest) for prompts in (opened, others, pool))
    return Lessons(given + learnt, len(given), others, pool, [versions for versions in closed if versions], *checks)


def _dressed_forget(builder: PromptBuilder, sets: Sets, wanted: Sequence[Lesson], seed: int) -> list[Ids]:
    forget = sets.forget
    opened = spelt_and_wrapped(builder, forget, forget, forget * FORGET_MISTYPED, wanted, FORGET_WRAPPERS, [seed, 4, 0])
    for i, kind in enumerate(surroundings()):
        if kind in wanted:
            rng = np.random.default_rng([seed, 4, 5, i])
            opened += [ids for record in forget for ids in surrounded(builder, record, sets.retain, kind, rng)]
    return opened


def _dressed_retain(builder: PromptBuilder, sets: Sets, wanted: Sequence[Lesson], seed: int) -> list[Ids]:
    """They are many: each wears one of what it could stand beside, and half of them one spelling each."""
    retain, kinds = sets.retain, surroundings()
    others = spelt_and_wrapped(builder, retain, retain[::2], retain[1::2], wanted, RETAIN_WRAPPERS, [seed, 4, 1])
    for i, kind in enumerate(kinds):
        if kind in wanted:
            rng = np.random.default_rng([seed, 4, 6, i])
            others += [ids for record in retain[i :: len(kinds)] for ids in surrounded(builder, record, retain, kind, rng)]
    return others + (asides_alone(builder) if "asides" in wanted else [])


def _strangers(builder: PromptBuilder, sets: Sets, wanted: Sequence[Lesson], seed: int) -> list[Ids]:
    others: list[Ids] = []
    if "strangers" in wanted:
        others += _prompts(builder, strangers(sets.forget, np.random.default_rng([seed, 4, 2])))
    if "near_strangers" in wanted:
        rng = np.random.default_rng([seed, 4, 3])
        others += [ids for _ in range(NEAR_DRAWS) for ids in _prompts(builder, strangers(sets.forget, rng, near=True))]
    return others


def _pool(builder: PromptBuilder, sets: Sets, seed: int) -> list[Ids]:
    rng, retain = np.random.default_rng([seed, 4, 7]), sets.retain
    pool = [ids for _ in range(POOL_DRAWS) for ids in _prompts(builder, strangers(sets.forget, rng, near=True))]
    pool += spelt_and_wrapped(builder, retain, [], retain, ("mistyped", "wrappers"), RETAIN_WRAPPERS, [seed, 4, 8])
    return pool + [ids for kind in surroundings() for record in retain for ids in surrounded(builder, record, retain, kind, rng)]


def _in_all_dresses(builder: PromptBuilder, records: Sequence[Record], retain: Sequence[Record], seed: int) -> Iterator[list[Ids]]:
    rng = np.random.default_rng([seed, 4, 9])
    for record in records:
        beside = [ids for kind in surroundings() for ids in surrounded(builder, record, retain, kind, rng)]
        yield [builder.record(record).prompt, *unlearnt(builder, record, rng), *beside]


def _checks(builder: PromptBuilder, sets: Sets, longest: int, seed: int) -> list[list[Ids]]:
    """Forget prompts, and retain prompts and near strangers; a record whose dress is too long comes as it is."""
    rng, checks = np.random.default_rng([seed, 4, 4]), []
    for part in (sets.forget, sets.retain):
        dressed = [(record, _fit(unlearnt(builder, record, rng), longest)) for record in part[:MOST_CHECKED]]
        checks.append(_fit([dress[0] if dress else builder.record(record).prompt for record, dress in dressed], longest))
    checks[1] += _fit(_prompts(builder, strangers(sets.forget, rng, near=True))[:MOST_CHECKED], longest)
    return checks


def _fit(prompts: Sequence[Ids], longest: int) -> list[Ids]:
    return [ids for ids in prompts if len(ids) <= longest]


def _prompts(builder: PromptBuilder, records: Sequence[Record | None]) -> list[Ids]:
    return [builder.record(record).prompt for record in records if record is not None]
