"""Scripts: which one a word is written in, and the words, runs of characters and numbers of a text in any of them."""

from itertools import pairwise

import regex

# Line_Break=SA are the scripts of South East Asia whose words only a dictionary can tell apart.
UNSPACED = r"[[\p{lb=SA}\p{scx=Hani}\p{scx=Hira}\p{scx=Kana}\p{scx=Bopo}\p{Yiii}\p{Tang}\p{Nshu}\p{Kits}]&&[\p{L}\p{Nl}]]"
"""Letters of scripts that put no space between words, as a set of a pattern of `regex` (V1)."""
_RUN = rf"(?:{UNSPACED}\p{{M}}*|\p{{Hangul}})+"
_SPACED = rf"[[\p{{L}}\p{{M}}\u200c\u200d]--{UNSPACED}--\p{{Hangul}}]+"
PIECE = regex.compile(rf"(?V1)(?P<run>{_RUN})|(?P<word>{_SPACED}(?:[-'’]{_SPACED})*)|(?P<digits>\p{{Nd}}{{2,}})")
"""A word, a number of two digits or more, or a run: letters that no space separates, or the syllables of a Korean word."""
CHARACTER = regex.compile(r"\p{L}\p{M}*|\p{Nl}")
"""A letter of a run with its marks."""
END = "$"
"""Stands after the last syllable of a Korean word: particles such as 는 follow a name there."""
_HANGUL, _LETTER, _LATIN_LETTER = regex.compile(r"\p{Hangul}"), regex.compile(r"\p{L}"), regex.compile(r"\p{Latin}")
_SCRIPT = regex.compile(
    r"(?P<latin>\p{Latin})|(?P<cyrillic>\p{Cyrillic})|(?P<han>\p{Han})|(?P<hiragana>\p{Hiragana})|(?P<katakana>\p{Katakana})"
    r"|(?P<hangul>\p{Hangul})|(?P<arabic>\p{Arabic})|(?P<hebrew>\p{Hebrew})|(?P<devanagari>\p{Devanagari})|(?P<greek>\p{Greek})"
)


def script_of(word: str) -> str | None:
    """Return the script of the first letter that is in one for which names are shipped; None if there is none."""
    match = _SCRIPT.search(word)
    return match and match.lastgroup


def pairs(run: str) -> list[str]:
    """Return the pairs of neighbouring characters of a run, in their order."""
    characters = CHARACTER.findall(run)
    return ["".join(pair) for pair in pairwise([*characters, END] if _HANGUL.match(characters[-1]) else characters)]


def new_characters(run: str, known_pairs: frozenset[str] | set[str]) -> list[bool]:
    """Return for each character of a run whether it stands in no known pair: 住在 of 她住在上海 is known if a question holds it."""
    known = [False, *(pair in known_pairs for pair in pairs(run)), False]
    return [not (before or after) for (before, after), _ in zip(pairwise(known), CHARACTER.findall(run), strict=False)]


def mostly_latin(text: str) -> bool:
    """Return whether at least half of the letters of a text are Latin; a text without letters counts as Latin."""
    return 2 * len(_LATIN_LETTER.findall(text)) >= len(_LETTER.findall(text))
