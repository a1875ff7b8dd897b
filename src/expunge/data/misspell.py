"""Add spelling mistakes to a text: training prompts for a gate, and prompt variants for attacks."""

import re
import string
from collections.abc import Callable

import numpy as np

MIN_LETTERS = 4
CHANGED_SHARE = 0.25


def misspell(text: str, rng: np.random.Generator) -> str:
    """Drop, double or replace one letter in a quarter of the words of four letters or more, and in at least one of them."""

    def mistake(word: str) -> str:
        at = int(rng.integers(1, len(word) - 1))
        instead = ("", 2 * word[at], string.ascii_lowercase[rng.integers(26)])[rng.integers(3)]
        return word[:at] + instead + word[at + 1 :]

    return change_some_words(text, rng, mistake)


def change_some_words(text: str, rng: np.random.Generator, change: Callable[[str], str]) -> str:
    """Apply `change` to a quarter of the words of four letters or more, and to at least one if there is one."""
    words = re.split(r"(\W+)", text)
    long = [i for i, word in enumerate(words) if len(word) >= MIN_LETTERS and word.isalpha()]
    if long:
        for i in rng.choice(long, max(1, round(len(long) * CHANGED_SHARE)), replace=False):
            words[i] = change(words[i])
    return "".join(words)
