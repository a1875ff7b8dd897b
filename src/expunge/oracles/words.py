"""Find whole words in a text: for the oracles `names` and `wordlist`."""

from collections.abc import Sequence
from typing import Annotated

import regex
from pydantic import Field

from expunge.data.normalise import normalise
from expunge.data.scripts import UNSPACED

_UNBOUNDED, _KOREAN = regex.compile(f"(?V1){UNSPACED}"), regex.compile(r"\p{Hang}")

Words = Annotated[tuple[Annotated[str, Field(pattern=r"\S")], ...], Field(min_length=1)]
"""At least one word or phrase, none of them blank."""


def whole_words(words: Sequence[str]) -> regex.Pattern[str]:
    """Return a pattern that finds any of the words if no letter, digit or underscore touches it; white space inside may vary.

    Chinese, Japanese and the like put no space around words: there letters may touch it. In Korean, particles may follow it. Case,
    composed or full-width letters and digits of another script make no difference, see `expunge.metrics.words`.
    """
    return regex.compile("|".join(map(_spelled, words)), regex.IGNORECASE)


def contains(pattern: regex.Pattern[str], text: str) -> bool:
    """Return whether a text contains a match of a pattern made by `whole_words`."""
    return pattern.search(normalise(text)) is not None


def _spelled(word: str) -> str:
    parts = normalise(word).split()
    before = "" if _UNBOUNDED.match(parts[0]) else r"(?<![\w\p{M}])"
    after = "" if _UNBOUNDED.match(parts[-1][-1]) or _KOREAN.match(parts[-1][-1]) else r"(?![\w\p{M}])"
    return before + r"\s+".join(map(regex.escape, parts)) + after
