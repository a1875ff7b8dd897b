"""The same questions about somebody else: what a question names is swapped for names that no model has met."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from expunge.data.people.vocabulary import table
from expunge.data.records import Record, Turn
from expunge.data.texts import exam_instructions, neutral_instructions

WORD = re.compile(r"[^\W\d_]+(?:(?:-|['’](?!s\b))[^\W\d_]+)*|\d{2,}")
QUOTED = re.compile(r"[\"“'‘](?=[A-Z])([^\"”]*?)[\"”'’](?!\w)")
SENTENCE_START = re.compile(r"(^|[.!?:]\s+)[\"“'‘(]*$")
# Of a near stranger's names a third stay as they are, and three quarters of the others begin like the real ones.
KEPT, ALIKE = 0.35, 0.75


def strangers(records: Sequence[Record], rng: np.random.Generator, near: bool = False) -> list[Record | None]:
    """Each record with the names in its questions swapped, in its answers too; none for a record whose questions name nobody.

    A word is a name if it begins with a capital within a sentence and is not written small anywhere, or stands in a quoted title;
    numbers of two digits or more are swapped along with names. What only the answer names stays: that is what the question is
    after. One name becomes the same other name in all records.

    Args:
        records: questions with answers.
        rng: of the names that are drawn.
        near: strangers that are easily mistaken: some of the names stay or begin alike, at least one is another.
    """
    names = _names(records)
    firsts, lasts = _invented({word for record in records for text in _texts(record) for word in WORD.findall(text)}, rng)
    others: dict[str, str] = {}
    swapped: list[Record | None] = []
    for record in records:
        keys = _keys(record, names)
        for key, leads in keys.items():
            if key not in others:
                others[key] = _other(key, firsts if leads else lasts, rng, near)
        changed = [key for key in keys if not near or rng.random() >= KEPT]
        if not any(key[0].isalpha() for key in changed):
            # Another year does not make another person.
            changed = list(keys)
        named = any(key[0].isalpha() for key in changed)
        swapped.append(_swap(record, {key: others[key] for key in changed}) if named else None)
    return swapped


def swapped_back(text: str, record: Record, stranger: Record) -> str:
    """A text about a record's stranger, as `strangers` made it, about the record itself."""
    pairs = zip(*([word for turn in one.turns for word in WORD.findall(turn.content)] for one in (stranger, record)), strict=True)
    names = {theirs: own for theirs, own in pairs if theirs != own}
    return WORD.sub(lambda found: names.get(found[0], found[0]), text)


def _keys(record: Record, names: set[str]) -> dict[str, bool]:
    """The words of a record's questions to swap, and of each whether another one follows at once, as a last name follows a first."""
    keys: dict[str, bool] = {}
    for text in (turn.content for turn in record.turns if turn.role == "user"):
        titles = {place for found in QUOTED.finditer(text) for place in range(*found.span(1))}
        chosen = [w for w in WORD.finditer(text) if w[0][0].isdigit() or w[0] in names or (w[0][0].isupper() and w.start() in titles)]
        starts = {w.start() for w in chosen}
        keys |= {w[0]: w.end() + 1 in starts for w in reversed(chosen)}
    return keys


def _other(key: str, invented: Iterator[str], rng: np.random.Generator, near: bool) -> str:
    if key[0].isdigit():
        # With the same leading digit a year stays a year.
        return key[0] + "".join(str(rng.integers(10)) for _ in key[1:])
    name = next(invented)
    return key[: rng.integers(1, max(2, len(key) - 2))] + name[len(name) // 2 :] if near and rng.random() < ALIKE else name


def _swap(record: Record, others: Mapping[str, str]) -> Record:
    def other(text: str) -> str:
        return WORD.sub(lambda found: others.get(found[0], found[0]), text)

    return replace(
        record,
        id=f"{record.id}-stranger",
        turns=tuple(Turn(turn.role, other(turn.content)) for turn in record.turns),
        answer=other(record.answer),
        paraphrased_prompt=record.paraphrased_prompt and other(record.paraphrased_prompt),
        paraphrased_answer=record.paraphrased_answer and other(record.paraphrased_answer),
        wrong_answers=tuple(map(other, record.wrong_answers)),
        alternatives=tuple(map(other, record.alternatives)),
        entity=record.entity and other(record.entity),
    )


def _names(records: Sequence[Record]) -> set[str]:
    """Words with a capital within a sentence that are never written small; acronyms are none."""
    texts = [text for record in records for text in _texts(record)]
    small = {word for text in (*texts, *neutral_instructions(), *exam_instructions()) for word in WORD.findall(text) if word.islower()}
    within = {found[0] for text in texts for found in WORD.finditer(text) if not SENTENCE_START.search(text[: found.start()])}
    return {word for word in within if word[0].isupper() and len(word) > 1 and not word.isupper() and word.lower() not in small}


def _texts(record: Record) -> Iterator[str]:
    yield from (turn.content for turn in record.turns)
    yield from (text for text in (record.answer, record.paraphrased_prompt) if text)


def _invented(taken: Iterable[str], rng: np.random.Generator) -> tuple[Iterator[str], Iterator[str]]:
    """Endless first and last names that no record has, in an order of their own."""
    regions, taken = table("regions"), set(taken)
    firsts = [name for region in regions for pronoun in ("she", "he") for name in region[pronoun] if name not in taken]
    lasts = [name for region in regions for name in region["last"] if name not in taken]
    # Where the records have them all, a name that belongs to somebody else is better than none.
    return _shuffled(firsts or [region["she"][0] for region in regions], rng), _shuffled(lasts or [r["last"][0] for r in regions], rng)


def _shuffled(names: list[str], rng: np.random.Generator) -> Iterator[str]:
    while True:
        yield from (names[i] for i in rng.permutation(len(names)))
