"""Replace the names in questions: the same questions about people, titles and years that no model knows."""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import regex
import yaml

from expunge.data.find_names import CapitalNames, Names, find_names, record_texts
from expunge.data.languages import ENGLISH, Language
from expunge.data.people.vocabulary import table
from expunge.data.records import Record, Turn
from expunge.data.scripts import script_of

FOLDER = Path(__file__).parent / "names"
# With `similar`: the share of names that stay, and of the others the share that begin like the original name.
UNCHANGED_SHARE, SAME_START_SHARE = 0.35, 0.75
LATIN = "latin"
TABLES = {"cyrillic": "cyrillic", "han": "chinese", "hangul": "korean", "arabic": "arabic", "hebrew": "hebrew"}
TABLES |= {"devanagari": "devanagari", "greek": "greek", "hiragana": "japanese", "katakana": "japanese"}
FAMILY_NAME_FIRST = ("chinese", "japanese", "korean")
_GRAPHEME = regex.compile(r"\X")


@dataclass(frozen=True)
class Renamed:
    """A record with other names.

    Attributes:
        record: with the other names.
        originals: {other name: original name}.
        names: how names are replaced in a text.
    """

    record: Record
    originals: dict[str, str]
    names: Names

    def restore(self, text: str) -> str:
        """Return a text about the record with the original names."""
        return self.names.swap(text, self.originals)


def with_other_names(
    records: Sequence[Record],
    rng: np.random.Generator,
    similar: bool = False,
    language: Language = ENGLISH,
    background: Sequence[Record] = (),
) -> list[Record | None]:
    """Return the records of `rename`."""
    return [None if renamed is None else renamed.record for renamed in rename(records, rng, similar, language, background)]


def rename(
    records: Sequence[Record],
    rng: np.random.Generator,
    similar: bool = False,
    language: Language = ENGLISH,
    background: Sequence[Record] = (),
) -> list[Renamed | None]:
    """Return each record with other names in its questions and answers; None for a record in whose questions no name can be replaced.

    See `expunge.data.find_names` for what a name is. It becomes a name in the same script; names are shipped for the scripts of `TABLES`
    and for Latin letters. Numbers of two digits or more are replaced along with names. A name that only the answer contains stays: it is
    what the question asks for. A name is replaced by the same other name in all records.

    Args:
        records: questions with answers.
        rng: draws the names.
        similar: choose names that are easy to confuse with the originals: some stay or start alike, but at least one differs.
        language: of most records.
        background: retain records, whose words are no names of the forget set.
    """
    names = find_names(records, language, background)
    strangers = _Strangers(records, names, language, rng)
    replacements: dict[str, str] = {}
    renamed: list[Renamed | None] = []
    for record in records:
        keys = {key: first for key, first in names.keys(record).items() if strangers.has(key)}
        for key, is_first_name in keys.items():
            if key not in replacements:
                replacements[key] = strangers.replacement(key, is_first_name, similar)
        some_stay = similar and names.certain(keys)
        changed = [key for key in keys if not some_stay or rng.random() >= UNCHANGED_SHARE]
        if not any(key[0].isalpha() for key in changed):
            # A different year alone does not make a different person.
            changed = list(keys)
        has_name = any(key[0].isalpha() for key in changed)
        renamed.append(_renamed(record, {key: replacements[key] for key in changed}, names) if has_name else None)
    return renamed


class _Strangers:
    """Draw other names, in the script of the original."""

    def __init__(self, records: Sequence[Record], names: Names, language: Language, rng: np.random.Generator):
        self.taken = {word for record in records for text in record_texts(record) for word in names.pieces(text)}
        self.language, self.rng = language, rng
        self.drawn: dict[str, tuple[Iterator[str], Iterator[str]]] = {}
        # A name that capitals tell becomes a Latin name with a capital in every script that has no table.
        self.keeps_case = not isinstance(names, CapitalNames)

    def has(self, key: str) -> bool:
        """Return whether names are shipped for the script of a key; a number is always replaced."""
        return key[0].isdigit() or script_of(key) in (LATIN, *TABLES) or not self.keeps_case

    def replacement(self, key: str, is_first_name: bool, similar: bool) -> str:
        if key[0].isdigit():
            # With the same first digit a year stays a plausible year.
            return key[0] + "".join(_digit(old, int(self.rng.integers(10))) for old in key[1:])
        name = self._name(key, is_first_name)
        if not similar or self.rng.random() >= SAME_START_SHARE:
            return name
        if script_of(key) == LATIN:
            return key[: self.rng.integers(1, max(2, len(key) - 2))] + name[len(name) // 2 :]
        letters, others = _GRAPHEME.findall(key), _GRAPHEME.findall(name)
        return "".join((*letters[: self.rng.integers(1, max(2, len(letters) - 1))], *others[len(others) // 2 :]))

    def _name(self, key: str, is_first_name: bool) -> str:
        script = script_of(key) or LATIN
        kind = "japanese" if script == "han" and self.language.code == "ja" else TABLES.get(script, LATIN)
        source = f"{kind}/{script}" if script == "katakana" else kind
        if source not in self.drawn:
            self.drawn[source] = _invented(kind, self.taken, self.rng, katakana=script == "katakana")
        firsts, lasts = self.drawn[source]
        if kind in FAMILY_NAME_FIRST and script != "katakana":
            return next(lasts) + next(firsts) if len(key) > 1 else next(lasts)
        name = next(firsts if is_first_name else lasts)
        return name.lower() if self.keeps_case and key.islower() else name


def _digit(old: str, value: int) -> str:
    """Return a digit of the same script."""
    was = unicodedata.decimal(old, None)
    return str(value) if was is None else chr(ord(old) - was + value)


def _renamed(record: Record, replacements: dict[str, str], names: Names) -> Renamed:
    def renamed(text: str) -> str:
        return names.swap(text, replacements)

    given = renamed(record.given)
    other = replace(
        record,
        id=f"{record.id}-other-name",
        turns=tuple(Turn(turn.role, renamed(turn.content)) for turn in record.turns),
        answer=given + renamed(record.expected),
        prompt_chars=record.prompt_chars and len(given),
        paraphrased_prompt=record.paraphrased_prompt and renamed(record.paraphrased_prompt),
        paraphrased_answer=record.paraphrased_answer and renamed(record.paraphrased_answer),
        wrong_answers=tuple(map(renamed, record.wrong_answers)),
        alternatives=tuple(map(renamed, record.alternatives)),
        entity=record.entity and renamed(record.entity),
    )
    # Where two names have become the same one, the later in the text is put back.
    in_order = [*reversed(replacements), *(word for turn in record.turns for word in names.pieces(turn.content))]
    originals = {replacements[word]: word for word in in_order if replacements.get(word, word) != word}
    return Renamed(other, originals, names)


def _invented(kind: str, taken: Iterable[str], rng: np.random.Generator, katakana: bool) -> tuple[Iterator[str], Iterator[str]]:
    """Return endless shuffled first and last names that no record contains."""
    taken = set(taken)
    every = _latin() if kind == LATIN else _shipped(kind, katakana)
    free = [[name for name in names if name not in taken] for names in every]
    # If the records contain all of them, a name that is in use is better than none.
    firsts, lasts = (names or in_use[::12] for names, in_use in zip(free, every, strict=True))
    return _shuffled(firsts, rng), _shuffled(lasts, rng)


def _latin() -> tuple[list[str], list[str]]:
    regions = table("regions")
    firsts = [name for region in regions for pronoun in ("she", "he") for name in region[pronoun]]
    return firsts, [name for region in regions for name in region["last"]]


@cache
def _shipped(kind: str, katakana: bool) -> tuple[list[str], list[str]]:
    names = yaml.safe_load((FOLDER / f"{kind}.yaml").read_text(encoding="utf-8"))
    return (names["katakana"], names["katakana"]) if katakana else (names["first"], names["last"])


def _shuffled(names: list[str], rng: np.random.Generator) -> Iterator[str]:
    while True:
        yield from (names[i] for i in rng.permutation(len(names)))
