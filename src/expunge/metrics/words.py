r"""Words of a text in any script: the one tokenizer that ROUGE, leaks, repetition and overlap share.

Words are those of Unicode's UAX #29, written as one pattern over the properties of characters that the library `regex` holds. It is a
dependency already and has no others. Its own word boundary (`\b` with the flag WORD) keeps an opening quotation mark with the word;
`uniseg` follows the standard to the letter but takes 100 times as long; ICU has to be compiled.

Chinese, Japanese, Thai, Lao, Khmer and Burmese put no space between words. There each character with its marks is a word.
"""

from functools import lru_cache

import regex

from expunge.data.normalise import normalise
from expunge.data.scripts import UNSPACED

_HEBREW, _NUMERIC = r"\p{WB=Hebrew_Letter}", r"\p{WB=Numeric}"
_LETTER = rf"[[\p{{WB=ALetter}}{_HEBREW}]--{UNSPACED}]"
_INSIDE = rf"[[\p{{WB=ALetter}}{_HEBREW}{_NUMERIC}\p{{WB=ExtendNumLet}}]--{UNSPACED}]"
_MARKS = r"[\p{WB=Extend}\p{WB=Format}\p{WB=ZWJ}]*"
_QUOTE = r"\p{WB=MidNumLet}\p{WB=Single_Quote}"
# What joins two letters (rules WB6, WB7), two digits (WB11, WB12) or two Hebrew letters (WB7b, WB7c).
_JOINT = (
    rf"(?<={_LETTER}{_MARKS})[\p{{WB=MidLetter}}{_QUOTE}]{_MARKS}(?={_LETTER})"
    rf"|(?<={_NUMERIC}{_MARKS})[\p{{WB=MidNum}}{_QUOTE}]{_MARKS}(?={_NUMERIC})"
    rf'|(?<={_HEBREW}{_MARKS})"{_MARKS}(?={_HEBREW})'
)
_TOKEN = regex.compile(
    rf"(?V1)(?P<character>{UNSPACED}{_MARKS})|(?P<word>{_INSIDE}{_MARKS}(?:(?:{_JOINT})?{_INSIDE}{_MARKS})*)|(?P<sign>\S)"
)
_LATIN_TOKEN = regex.compile(r"(?P<word>[\p{L}\p{M}\p{N}_]+)|(?P<sign>\S)")
_ASCII_WORD, _ASCII_TOKEN = regex.compile(r"\w+"), regex.compile(r"\w+|\S")
_LETTER_OR_DIGIT = regex.compile(r"[\p{L}\p{Nd}\p{Nl}]")
_NOT_LATIN = regex.compile(r"(?V1)[\p{L}--\p{Latn}]")


def words(text: str) -> list[str]:
    """Return the words of a text in their order, normalised.

    Two spellings of one word become equal: composed or decomposed, upper or lower case, curly or straight apostrophe, with or without
    soft hyphens, full-width or not, digits of any script (as 0-9). Latin words are split at apostrophes and full stops, as in `Li's`;
    in other scripts both may be part of a word. Hyphens and dashes separate words. Symbols and emoji are no words; an underscore counts
    as a letter.
    """
    # The patterns for all scripts would find the same in ASCII, 20 times as slowly.
    return _ASCII_WORD.findall(text.lower()) if text.isascii() else [word for run in runs(text) for word in run]


def has_words(text: str) -> bool:
    """Return whether a text has a letter or digit. If not (only emoji, only "!!!"), no metric that compares words can see it."""
    return any(_LETTER_OR_DIGIT.search(word) for word in words(text))


def runs(text: str) -> list[list[str]]:
    """Return the words of a text; characters of a script without spaces that touch each other are in one list, other words alone."""
    if text.isascii():
        return [[word] for word in words(text)]
    found: list[list[str]] = []
    end = None
    for kind, token, start in _tokens(text):
        if kind == "character" and start == end:
            found[-1].append(token)
        elif kind != "sign":
            found.append([token])
        end = start + len(token) if kind == "character" else None
    return found


def tokens(text: str) -> list[str]:
    """Return the words of a text and every sign between them, normalised, in their order."""
    return _ASCII_TOKEN.findall(text.lower()) if text.isascii() else [token for _, token, _ in _tokens(text)]


def is_latin(word: str) -> bool:
    """Return whether all letters of a word are Latin; digits are no letters."""
    return _NOT_LATIN.search(word) is None


# Each answer is scored by several metrics, and each true answer against many.
@lru_cache(maxsize=256)
def _tokens(text: str) -> tuple[tuple[str, str, int], ...]:
    """Return the kind (character, word or sign), the text and the start of each token of a normalised text."""
    found: list[tuple[str, str, int]] = []
    for match in _TOKEN.finditer(normalise(text)):
        if match.lastgroup == "word" and is_latin(match[0]):
            found += [(str(part.lastgroup), part[0], match.start() + part.start()) for part in _LATIN_TOKEN.finditer(match[0])]
        else:
            found.append((str(match.lastgroup), match[0], match.start()))
    return tuple(found)
