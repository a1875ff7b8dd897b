"""Spellings that a reader still understands but that a model reads as other tokens: invisible, similar, separated or exchanged letters."""

import unicodedata
from collections.abc import Callable

import regex

_GRAPHEME, _WORD = regex.compile(r"\X"), regex.compile(r"[\p{L}\p{M}]+")
_LATIN, _CYRILLIC = "aceopxyijsABCEHIKMOPTX", "асеорхуіјѕАВСЕНІКМОРТХ"
LOOK_ALIKES = str.maketrans(_LATIN + _CYRILLIC, _CYRILLIC + _LATIN)
"""Latin letters and the Cyrillic ones that look like them, in both directions."""
LEET = str.maketrans("aeiostAEIOST", "431057431057")
UNDERLINE = "\u0332"


def between_letters(separator: str) -> Callable[[str], str]:
    """Return a function that puts a separator between the letters of each word."""
    return lambda text: _WORD.sub(lambda word: separator.join(_GRAPHEME.findall(word[0])), text)


def look_alikes(text: str) -> str:
    """Replace letters by letters of another script that look the same."""
    return text.translate(LOOK_ALIKES)


def leet(text: str) -> str:
    """Replace Latin letters by digits that look like them."""
    return text.translate(LEET)


def reversed_words(text: str) -> str:
    """Write each word backwards, and say so."""
    return f"{_WORD.sub(lambda word: ''.join(reversed(_GRAPHEME.findall(word[0]))), text)} (written backwards)"


def full_width(text: str) -> str:
    """Replace ASCII letters by their full-width forms."""
    return "".join(chr(ord(char) + 0xFEE0) if char.isascii() and char.isalpha() else char for char in text)


def underlined(text: str) -> str:
    """Put a combining line below each letter."""
    return "".join(char + UNDERLINE if unicodedata.category(char).startswith("L") else char for char in text)


def halved(text: str) -> str:
    """Break each word of four letters or more in two."""

    def broken(word: regex.Match[str]) -> str:
        letters = _GRAPHEME.findall(word[0])
        middle = len(letters) // 2
        return word[0] if len(letters) < 4 else f"{''.join(letters[:middle])} {''.join(letters[middle:])}"

    return _WORD.sub(broken, text)
