"""The answers that the part of a gate that reads answers is trained and calibrated on."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from expunge.data.evasions import PARTIAL_NAMES, TRAINED, Subject, evade, rename, shorten, subjects
from expunge.data.other_names import with_other_names
from expunge.data.prompts import Encoded, PromptBuilder
from expunge.data.records import Record, Turn
from expunge.gating.evasion_prompts import namesakes
from expunge.metrics.distinctive_tokens import distinctive_tokens
from expunge.metrics.revealed_facts import secret_words, tells_fact
from expunge.models.blocks import context_length
from expunge.models.generation import generate
from expunge.runs.splits import Splits, draw

MOST_STRANGERS, MOST_RETAIN = 100, 200
"""Questions of each kind about others that the model answers; retain records."""
MAX_NEW_TOKENS, GENERATE_AT_ONCE = 48, 40


@dataclass(frozen=True)
class AnswerRows:
    """Prompts with answers that the part of a gate that reads answers is fitted on. No answer has its end of turn: nothing reads that.

    Attributes:
        forget: at which it should open.
        facts: for each of these the index of the forget record whose fact it tells.
        starts: for each of these the index of the first distinctive token of its answer.
        negatives: at which it should stay closed.
        calibration: further rows at which it should stay closed, to choose the threshold on.
        without_start: number of forget answers that are left out, because they are too long or have no distinctive token.
    """

    forget: list[Encoded]
    facts: list[int]
    starts: list[int]
    negatives: list[Encoded]
    calibration: list[Encoded]
    without_start: int

    @property
    def all(self) -> list[Encoded]:
        """Every row: forget, negatives, calibration."""
        return [*self.forget, *self.negatives, *self.calibration]

    def split(self, items: list[Any]) -> tuple[list[Any], list[Any], list[Any]]:
        """Cut a list that is parallel to `all` into its three parts."""
        first, second = len(self.forget), len(self.forget) + len(self.negatives)
        return items[:first], items[first:second], items[second:]


def answer_rows(
    model: nn.Module, builder: PromptBuilder, splits: Splits, seed: int, advance: Callable[[int], None] = lambda prompts: None
) -> AnswerRows:
    """Collect the rows to fit the part of a gate that reads answers.

    The facts to forget come with the full name, with each partial name and with the names of strangers, retain facts also with the names
    of forgotten people, so that the gate recognises the fact and not the name. Each comes after its own question and after an everyday
    instruction. The model itself answers questions about other people, retain questions in forms of evasion, and everyday instructions;
    an answer that tells a forgotten fact, or a part of one, is left out.

    Args:
        model: before the edit.
        builder: of its tokenizer.
        splits: of the run; the part that is held out for the audit is not used.
        seed: of everything that is drawn.
        advance: called with the number of prompts answered.
    """
    rng, longest = np.random.default_rng([seed, 6]), context_length(model) or sys.maxsize
    instructions = [builder.prompt((Turn("user", text),)) for text in splits.language.instructions]
    to_train, to_calibrate = instructions[::2], instructions[1::2]
    retain, held_retain = (draw(part, MOST_RETAIN, seed) for part in (splits.retain, splits.calibration))

    def twice(record: Record) -> list[Encoded]:
        row = unended(builder, builder.record(record))
        every = (row, Encoded(to_train[int(rng.integers(len(to_train)))], row.answer))
        return [one for one in every if len(one.prompt) + len(one.answer) <= longest]

    revealed = [(fact, record) for fact, records in enumerate(forget_variants(splits, rng)) for record in records]
    flags = distinctive_tokens(builder, [record for _, record in revealed], splits.retain)
    forget, facts, starts = list[Encoded](), list[int](), list[int]()
    for (fact, record), leaks in zip(revealed, flags, strict=True):
        if any(leaks):
            rows = twice(record)
            forget += rows
            facts += [fact] * len(rows)
            starts += [builder.record(record).unscored + leaks.index(True)] * len(rows)
    negatives, calibration = (
        [row for record in (*with_partial_names(part, splits), *with_forgotten_names(part, splits, rng)) for row in twice(record)]
        for part in (retain, held_retain)
    )
    first_prompts, later_prompts = (
        [builder.record(record).prompt for record in about_others(splits, part, rng)] for part in (retain, held_retain)
    )
    prompts = [prompt for prompt in (*first_prompts, *later_prompts, *instructions) if len(prompt) + MAX_NEW_TOKENS < longest]
    answers = generate(model, builder, prompts, MAX_NEW_TOKENS, GENERATE_AT_ONCE, advance)
    held, secrets = {*later_prompts, *to_calibrate}, secret_words(splits.forget, splits.retain)
    for prompt, answer in zip(prompts, answers, strict=True):
        if answer and tells_fact(answer, secrets) is False:
            (calibration if prompt in held else negatives).append(Encoded(prompt, builder.unfinished_answer(answer)))
    return AnswerRows(forget, facts, starts, negatives, calibration, 2 * len(revealed) - len(forget))


def forget_variants(splits: Splits, rng: np.random.Generator) -> list[list[Record]]:
    """Return for each forget record its variants: as given, with each partial name, and with the names of two strangers."""
    found = {subject.record.id: subject for subject in subjects(splits.forget, splits.language, splits.retain)}
    others = [with_other_names(splits.forget, rng, False, splits.language, splits.retain) for _ in range(2)]
    return [
        [record, *_shortened(found.get(record.id)), *(other for other in of_record if other)]
        for record, *of_record in zip(splits.forget, *others, strict=True)
    ]


def with_partial_names(records: Sequence[Record], splits: Splits) -> list[Record]:
    """Return records as given, and with each partial name in question and answer."""
    return [*records, *(short for subject in subjects(records, splits.language) for short in _shortened(subject))]


def _shortened(subject: Subject | None) -> list[Record]:
    return [short for name in PARTIAL_NAMES if subject and (short := shorten(subject, name))]


def strangers(splits: Splits, rng: np.random.Generator) -> list[Record]:
    """Return the forget records with the names of strangers."""
    return [record for record in with_other_names(splits.forget, rng, False, splits.language, splits.retain) if record][:MOST_STRANGERS]


def with_forgotten_names(records: Sequence[Record], splits: Splits, rng: np.random.Generator) -> list[Record]:
    """Return retain records with a forgotten person's first name, last name, and full name, in question and answer."""
    names = [subject.name for subject in subjects(splits.forget, splits.language, splits.retain) if subject.name]
    found = list[Record]()
    for subject in subjects(records, splits.language) if names else ():
        own, forgotten = subject.name, names[int(rng.integers(len(names)))]
        if own is not None and own.last and forgotten.last:
            pairs = ((forgotten.first, own.last), (own.first, forgotten.last), (forgotten.first, forgotten.last))
            found += [rename(subject, own.joined(first, last)) for first, last in pairs]
    return found


def about_others(splits: Splits, retain: Sequence[Record], rng: np.random.Generator) -> list[Record]:
    """Return forget questions about strangers, some of whom share a name, and each retain question in two forms of evasion."""
    similar = [record for record in with_other_names(splits.forget, rng, True, splits.language, splits.retain) if record]
    unknown = strangers(splits, rng)
    forget, others = (subjects(records, splits.language, splits.retain) for records in (splits.forget, unknown))
    sharing = draw(namesakes(forget, others, rng), 2 * len(splits.forget), int(rng.integers(2**31)))
    evasive = [
        record
        for i, subject in enumerate(subjects(retain, splits.language))
        for forms in (tuple(PARTIAL_NAMES), TRAINED["obfuscated"])
        if (record := evade(subject, forms[i % len(forms)]))
    ]
    return [record for part in (similar, unknown, sharing, evasive) for record in part[:MOST_STRANGERS]]


def unended(builder: PromptBuilder, row: Encoded) -> Encoded:
    """Return a row without the end of turn."""
    return Encoded(row.prompt, row.answer[:-1]) if row.answer[-1:] == (builder.end_of_turn,) else Encoded(row.prompt, row.answer)
