"""What a gate learns from before suppression: forget prompts and others, each in several dresses, and what it is validated on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record, Turn
from expunge.data.strangers import strangers
from expunge.data.texts import neutral_instructions, surroundings
from expunge.sections import Lesson
from expunge.sets import Sets
from expunge.training.gate_dress import Ids, asides_alone, spelt_and_wrapped, surrounded, unlearnt

FORGET_WRAPPERS, RETAIN_WRAPPERS = 5, 2
FORGET_MISTYPED = 2
NEAR_DRAWS, POOL_DRAWS = 2, 3
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

    def apart(self, items: list) -> list[list]:
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
    beside = [kind for kind in surroundings() if kind in wanted]

    def fit(prompts: Sequence[Ids]) -> list[Ids]:
        return [ids for ids in prompts if len(ids) <= longest]

    # A retain set made from the model itself consists of these instructions: what is held out stays held out.
    known = {builder.record(record).prompt for record in (*retain, *sets.calibration, *sets.exam)}
    neutral = [Record(f"neutral-{i}", (Turn("user", text),), "") for i, text in enumerate(neutral_instructions())]
    neutral = [record for record in neutral if builder.record(record).prompt not in known]
    given = fit(_prompts(builder, forget))
    opened = spelt_and_wrapped(builder, forget, forget, forget * FORGET_MISTYPED, wanted, FORGET_WRAPPERS, [seed, 4, 0])
    for kind in beside:
        rng = np.random.default_rng([seed, 4, 5, list(surroundings()).index(kind)])
        opened += [ids for record in forget for ids in surrounded(builder, record, retain, kind, rng)]
    others = _prompts(builder, retain)
    others += spelt_and_wrapped(builder, retain, retain[::2], retain[1::2], wanted, RETAIN_WRAPPERS, [seed, 4, 1])
    rng = np.random.default_rng([seed, 4, 6])
    for i, record in enumerate(retain if beside else []):
        others += surrounded(builder, record, retain, beside[i % len(beside)], rng)
    if "asides" in wanted:
        others += asides_alone(builder)
    if "neutral" in wanted:
        others += _prompts(builder, neutral[NEUTRAL_CALIBRATION:])
    if "strangers" in wanted:
        others += _prompts(builder, strangers(forget, np.random.default_rng([seed, 4, 2])))
    if "near_strangers" in wanted:
        rng = np.random.default_rng([seed, 4, 3])
        others += [ids for _ in range(NEAR_DRAWS) for ids in _prompts(builder, strangers(forget, rng, near=True))]
    pool: list[Ids] = []
    if "mined" in wanted:
        rng = np.random.default_rng([seed, 4, 7])
        pool += [ids for _ in range(POOL_DRAWS) for ids in _prompts(builder, strangers(forget, rng, near=True))]
        pool += spelt_and_wrapped(builder, retain, [], retain, ("mistyped", "wrappers"), RETAIN_WRAPPERS, [seed, 4, 8])
        pool += [ids for kind in surroundings() for record in retain for ids in surrounded(builder, record, retain, kind, rng)]
    rng = np.random.default_rng([seed, 4, 9])
    closed = []
    for record in (*sets.calibration, *neutral[:NEUTRAL_CALIBRATION]):
        dresses = [surrounded(builder, record, retain, kind, rng) for kind in surroundings()]
        closed.append(fit([builder.record(record).prompt, *unlearnt(builder, record, rng), *(ids for dress in dresses for ids in dress)]))
    rng = np.random.default_rng([seed, 4, 4])
    checks = []
    for part in (forget, retain):
        dressed = [(record, fit(unlearnt(builder, record, rng))) for record in part[:MOST_CHECKED]]
        checks.append(fit([dress[0] if dress else builder.record(record).prompt for record, dress in dressed]))
    checks[1] += fit(_prompts(builder, strangers(forget, rng, near=True))[:MOST_CHECKED])
    return Lessons(given + fit(opened), len(given), fit(others), fit(pool), [own for own in closed if own], *checks)


def _prompts(builder: PromptBuilder, records: Sequence[Record | None]) -> list[Ids]:
    return [builder.record(record).prompt for record in records if record is not None]
