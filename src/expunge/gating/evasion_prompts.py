"""Prompts by a part of the name, in disguised spellings and over several turns, and those of people who share a name."""

from collections.abc import Iterator, Sequence

import numpy as np

from expunge.config import Augmentation
from expunge.data.evasions import TRAINED, FullName, Subject, evade, replace_name, subjects
from expunge.data.other_names import with_other_names
from expunge.data.records import Record
from expunge.runs.splits import Splits

SEEDS = {"partial_names": 10, "obfuscated": 11, "deferred": 12}
STRANGER_DRAWS = 2


def evasion_records(splits: Splits, augmentations: Sequence[Augmentation], seed: int) -> tuple[list[Record], list[Record]]:
    """Return records whose prompts a gate should open for, and records whose prompts it should stay closed for.

    Forget questions come in every form of an augmentation. Retain questions and questions about strangers come in one form each, so that
    no form gives the class away. With `partial_names` there are also people who share the first or the last name of a forgotten one. A
    negative that is the same prompt as a positive is left out: nobody can tell which person it is about.

    Args:
        splits: of the run.
        augmentations: of the gate; only those of `TRAINED` count.
        seed: of everything that is drawn; each augmentation draws by itself.
    """
    chosen = [name for name in TRAINED if name in augmentations]
    if not chosen:
        return [], []
    forget, retain = subjects(splits.forget, splits.language, splits.retain), subjects(splits.retain, splits.language)
    positives, negatives = list[Record](), list[Record]()
    for augmentation in chosen:
        forms, rng = TRAINED[augmentation], np.random.default_rng([seed, 4, SEEDS[augmentation]])
        positives += [record for subject in forget for form in forms if (record := evade(subject, form))]
        negatives += _in_turn(retain, forms)
        for _ in range(STRANGER_DRAWS):
            strangers = with_other_names(splits.forget, rng, False, splits.language, splits.retain)
            of_strangers = subjects([record for record in strangers if record], splits.language, splits.retain)
            negatives += _in_turn(of_strangers, forms)
            if augmentation == "partial_names":
                negatives += namesakes(forget, of_strangers, rng)
                negatives += namesakes(retain, forget, rng)
    ambiguous = {record.turns for record in positives}
    return positives, [record for record in negatives if record.turns not in ambiguous]


def namesakes(questions: Sequence[Subject], of: Sequence[Subject], rng: np.random.Generator) -> list[Record]:
    """Return questions about people who have one name of a person in `questions` and the other name of a person in `of`.

    Each question comes with both names, and with an initial and the last name where that still tells the two people apart.
    """
    named, others = [subject for subject in questions if subject.name], [subject.name for subject in of if subject.name]
    if not others:
        return []
    drawn = (others[int(i)] for i in rng.integers(len(others), size=len(named)))
    return [record for subject, other in zip(named, drawn, strict=True) if other is not None for record in _renamed(subject, other)]


def _renamed(subject: Subject, other: FullName) -> Iterator[Record]:
    name = subject.name
    if name is None or not (name.last and other.last) or name.first == other.first or name.last == other.last:
        return
    pairs = [(name.first, name.initial, other.last)]
    # With the initial of the other the last name alone would be left to tell the two apart.
    pairs += [(other.first, other.initial if other.initial != name.initial else "", name.last)]
    for first, initial, last in pairs:
        yield replace_name(subject.record, name, name.joined(first, last))
        if initial:
            yield replace_name(subject.record, name, f"{initial} {last}")


def _in_turn(questions: Sequence[Subject], forms: Sequence[str]) -> list[Record]:
    """Return each question in one form, the forms in turn; where one cannot be made, in none."""
    return [record for i, subject in enumerate(questions) if (record := evade(subject, forms[i % len(forms)]))]
