"""Replace the names in questions: the same questions about people, titles and years that no model knows."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from expunge.data.people.vocabulary import table
from expunge.data.records import Record, Turn
from expunge.data.texts import eval_instructions, neutral_instructions

# A letter and its marks: a decomposed é is an e and an accent.
_LETTERS = r"(?:[^\W\d_][\u0300-\u036f]*)+"
WORD = re.compile(rf"{_LETTERS}(?:(?:-|['’](?!s\b)){_LETTERS})*|\d{{2,}}")
QUOTED = re.compile(r"[\"“'‘](?=[A-Z])([^\"”]*?)[\"”'’](?!\w)")
SENTENCE_START = re.compile(r"(^|[.!?:]\s+)[\"“'‘(]*$")
# With `similar`: the share of names that stay, and of the others the share that begin like the original name.
UNCHANGED_SHARE, SAME_START_SHARE = 0.35, 0.75


def with_other_names(records: Sequence[Record], rng: np.random.Generator, similar: bool = False) -> list[Record | None]:
    """Return each record with other names in its questions and answers; None for a record whose questions contain no name.

    A word is a name if it starts with a capital inside a sentence and nowhere appears in lower case, or if it is in a quoted title.
    Numbers of two digits or more are replaced along with names. A name that only the answer contains stays: it is what the question
    asks for. A name is replaced by the same other name in all records. In scripts without capital letters no name is found.

    Args:
        records: questions with answers.
        rng: draws the names.
        similar: choose names that are easy to confuse with the originals: some stay or start alike, but at least one differs.
    """
    names = _names(records)
    firsts, lasts = _invented({word for record in records for text in _texts(record) for word in WORD.findall(text)}, rng)
    replacements: dict[str, str] = {}
    renamed: list[Record | None] = []
    for record in records:
        keys = _keys(record, names)
        for key, is_first_name in keys.items():
            if key not in replacements:
                replacements[key] = _replacement(key, firsts if is_first_name else lasts, rng, similar)
        changed = [key for key in keys if not similar or rng.random() >= UNCHANGED_SHARE]
        if not any(key[0].isalpha() for key in changed):
            # A different year alone does not make a different person.
            changed = list(keys)
        has_name = any(key[0].isalpha() for key in changed)
        renamed.append(_renamed(record, {key: replacements[key] for key in changed}) if has_name else None)
    return renamed


def with_original_names(text: str, record: Record, renamed: Record) -> str:
    """Return a text about `renamed`, which `with_other_names` made of `record`, with the names of `record`."""
    words = ([word for turn in one.turns for word in WORD.findall(turn.content)] for one in (renamed, record))
    originals = {other: original for other, original in zip(*words, strict=True) if other != original}
    return WORD.sub(lambda match: originals.get(match[0], match[0]), text)


def _keys(record: Record, names: set[str]) -> dict[str, bool]:
    """Return the words to replace in a record's questions, each with whether another such word follows (a first name)."""
    keys: dict[str, bool] = {}
    for text in (turn.content for turn in record.turns if turn.role == "user"):
        in_titles = {place for match in QUOTED.finditer(text) for place in range(*match.span(1))}
        chosen = [w for w in WORD.finditer(text) if w[0][0].isdigit() or w[0] in names or (w[0][0].isupper() and w.start() in in_titles)]
        starts = {w.start() for w in chosen}
        keys |= {w[0]: w.end() + 1 in starts for w in reversed(chosen)}
    return keys


def _replacement(key: str, invented: Iterator[str], rng: np.random.Generator, similar: bool) -> str:
    if key[0].isdigit():
        # With the same first digit a year stays a plausible year.
        return key[0] + "".join(str(rng.integers(10)) for _ in key[1:])
    name = next(invented)
    return key[: rng.integers(1, max(2, len(key) - 2))] + name[len(name) // 2 :] if similar and rng.random() < SAME_START_SHARE else name


def _renamed(record: Record, replacements: Mapping[str, str]) -> Record:
    def rename(text: str) -> str:
        return WORD.sub(lambda match: replacements.get(match[0], match[0]), text)

    return replace(
        record,
        id=f"{record.id}-other-name",
        turns=tuple(Turn(turn.role, rename(turn.content)) for turn in record.turns),
        answer=rename(record.answer),
        paraphrased_prompt=record.paraphrased_prompt and rename(record.paraphrased_prompt),
        paraphrased_answer=record.paraphrased_answer and rename(record.paraphrased_answer),
        wrong_answers=tuple(map(rename, record.wrong_answers)),
        alternatives=tuple(map(rename, record.alternatives)),
        entity=record.entity and rename(record.entity),
    )


def _names(records: Sequence[Record]) -> set[str]:
    """Return the words with a capital inside a sentence that never appear in lower case; acronyms are not names."""
    texts = [text for record in records for text in _texts(record)]
    lower = {word for text in (*texts, *neutral_instructions(), *eval_instructions()) for word in WORD.findall(text) if word.islower()}
    inside = {match[0] for text in texts for match in WORD.finditer(text) if not SENTENCE_START.search(text[: match.start()])}
    return {word for word in inside if word[0].isupper() and len(word) > 1 and not word.isupper() and word.lower() not in lower}


def _texts(record: Record) -> Iterator[str]:
    yield from (turn.content for turn in record.turns)
    yield from (text for text in (record.answer, record.paraphrased_prompt) if text)


def _invented(taken: Iterable[str], rng: np.random.Generator) -> tuple[Iterator[str], Iterator[str]]:
    """Return endless shuffled first and last names that no record contains."""
    regions, taken = table("regions"), set(taken)
    firsts = [name for region in regions for pronoun in ("she", "he") for name in region[pronoun] if name not in taken]
    lasts = [name for region in regions for name in region["last"] if name not in taken]
    # If the records contain all of them, a name that is in use is better than none.
    return _shuffled(firsts or [region["she"][0] for region in regions], rng), _shuffled(lasts or [r["last"][0] for r in regions], rng)


def _shuffled(names: list[str], rng: np.random.Generator) -> Iterator[str]:
    while True:
        yield from (names[i] for i in rng.permutation(len(names)))
