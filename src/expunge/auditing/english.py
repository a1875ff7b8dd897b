"""Tell which records of a set are in English: in other languages only a few wordings of refusals are known."""

import re
import unicodedata
from collections.abc import Sequence

from expunge.data.records import Record

# Common in English, and hardly in other languages that are written in Latin letters.
_COMMON = (
    "the of and to is are were what which who whose whom where when why how does did with that this these from have has been they their "
    "his its you your there would should about into because could many name"
)
_FUNCTION_WORDS = frozenset(_COMMON.split())
LEAST_ENGLISH = 0.08
"""The least share of function words among the words of an English set: in English prose it is above 0.2, elsewhere below 0.05."""
LEAST_LATIN = 0.5
"""The least share of Latin letters among the letters of an English record."""


def in_english(records: Sequence[Record]) -> list[bool]:
    """Return for each record of one set whether its refusals would be in English.

    A record in another script is not. The others are judged together, because a short question may hold no common word.
    """
    latin = [_is_latin(_text(record)) for record in records]
    words = [word for record, is_latin in zip(records, latin, strict=True) if is_latin for word in _words(_text(record))]
    # Numbers and symbols alone are of no language.
    english = not words or sum(word in _FUNCTION_WORDS for word in words) >= LEAST_ENGLISH * len(words)
    return [is_latin and english for is_latin in latin]


def _text(record: Record) -> str:
    return " ".join([*(turn.content for turn in record.turns), record.answer])


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", text.casefold())


def _is_latin(text: str) -> bool:
    letters = [char for char in text if char.isalpha()]
    return sum(unicodedata.name(char, "").startswith(("LATIN", "FULLWIDTH LATIN")) for char in letters) >= LEAST_LATIN * len(letters)
