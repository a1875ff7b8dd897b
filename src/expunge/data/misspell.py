"""Add spelling mistakes to a text: training prompts for a gate, and prompt variants for attacks."""

import re
import string
from collections.abc import Callable

import numpy as np
import regex

from expunge.data.scripts import mostly_latin, script_of

MIN_LETTERS = 4
CHANGED_SHARE = 0.25
_NO_WORD, _WORD = regex.compile(r"([^\p{L}\p{M}\p{N}_]+)"), regex.compile(r"[\p{L}\p{M}]+")


def misspell(text: str, rng: np.random.Generator) -> str:
    """Drop, double or replace one letter in a quarter of the words of four letters or more, and in at least one of them.

    Another letter is of the same script: a-z, or one of the text's own letters.
    """
    own = sorted({char for char in text if char.isalpha()})

    def mistake(word: str) -> str:
        at = int(rng.integers(1, len(word) - 1))
        letters = string.ascii_lowercase if mostly_latin(text) else [char for char in own if script_of(char) == script_of(word)] or own
        instead = ("", 2 * word[at], letters[rng.integers(len(letters))])[rng.integers(3)]
        return word[:at] + instead + word[at + 1 :]

    return change_some_words(text, rng, mistake)


def change_some_words(text: str, rng: np.random.Generator, change: Callable[[str], str]) -> str:
    """Apply `change` to a quarter of the words of four letters or more, and to at least one if there is one."""
    # In `re`, the vowel signs of Indian scripts are no part of a word.
    words = re.split(r"(\W+)", text) if mostly_latin(text) else _NO_WORD.split(text)
    long = [i for i, word in enumerate(words) if len(word) >= MIN_LETTERS and (word.isalpha() or _WORD.fullmatch(word))]
    if long:
        for i in rng.choice(long, max(1, round(len(long) * CHANGED_SHARE)), replace=False):
            words[i] = change(words[i])
    return "".join(words)
