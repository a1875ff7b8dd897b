"""Make texts from a true answer that do not state it: an unrelated text of the same shape, and its two halves."""

import unicodedata
from functools import lru_cache

STEP, TRIES = 13, 160
"""How far a letter is shifted in its alphabet, and how many characters are tried."""


@lru_cache(maxsize=4096)
def unrelated_text(text: str) -> str:
    """Return a text with the same spaces, marks, script and length, and with other letters, digits and symbols throughout.

    Real records often look alike, so that another record's answer is not always unrelated. This one always is.
    """
    return "".join(_other(char) for char in text)


@lru_cache(maxsize=8192)
def _other(char: str) -> str:
    """Return another character of the same kind and script; a space, a mark or a control character stays."""
    category = unicodedata.category(char)
    if (digit := unicodedata.decimal(char, None)) is not None:
        return chr(ord(char) - digit + (digit + 5) % 10)
    if category[0] not in "LNS" and category != "Co":
        return char
    code, script = ord(char), unicodedata.name(char, "").partition(" ")[0]
    for distance in range(STEP, STEP + TRIES):
        for other in (code + distance, code - distance):
            if 0 < other <= 0x10FFFF and _same_kind(chr(other), category, script, char):
                return chr(other)
    return "\u2603" if category[0] == "S" else "z"


def _same_kind(other: str, category: str, script: str, char: str) -> bool:
    if unicodedata.category(other) != category or unicodedata.name(other, "").partition(" ")[0] != script:
        return False
    # A character that is only another form of the same letter would not be another one.
    return unicodedata.normalize("NFKD", other).casefold()[:1] != unicodedata.normalize("NFKD", char).casefold()[:1]


def halves(text: str) -> tuple[str, ...]:
    """Return the two halves of a text, cut at the white space nearest to its middle, with letters or digits in both.

    A text without such a place is cut in its middle if it is in a script that writes no spaces. One word has no halves: half of an
    English word may well have the same stem.
    """
    places = [i for i, char in enumerate(text) if char.isspace()]
    if not any(_worded(text[:i]) and _worded(text[i:]) for i in places):
        places = [] if any(unicodedata.name(char, "").startswith("LATIN") for char in text) else list(range(1, len(text)))
    fitting = [i for i in places if _worded(text[:i]) and _worded(text[i:])]
    if not fitting:
        return ()
    cut = min(fitting, key=lambda i: abs(i - len(text) / 2))
    return text[:cut], text[cut:]


def _worded(text: str) -> bool:
    return any(char.isalnum() for char in text)
