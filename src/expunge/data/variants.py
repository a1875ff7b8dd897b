"""The same text otherwise spelt: what gates learn from beside the text as it is, and what they are examined with."""

import re
import string
from collections.abc import Callable

import numpy as np

SHORTEST_CHANGED = 4
CHANGED = 0.25


def mistyped(text: str, rng: np.random.Generator) -> str:
    """A letter is dropped, doubled or another, in a quarter of the words of four letters or more and in one at least."""

    def slip(word: str) -> str:
        at = int(rng.integers(1, len(word) - 1))
        instead = ("", 2 * word[at], string.ascii_lowercase[rng.integers(26)])[rng.integers(3)]
        return word[:at] + instead + word[at + 1 :]

    return in_some_words(text, rng, slip)


def in_some_words(text: str, rng: np.random.Generator, change: Callable[[str], str]) -> str:
    """A quarter of a text's words of four letters or more changed, one at least where there is one."""
    words = re.split(r"(\W+)", text)
    long = [i for i, word in enumerate(words) if len(word) >= SHORTEST_CHANGED and word.isalpha()]
    if long:
        for i in rng.choice(long, max(1, round(len(long) * CHANGED)), replace=False):
            words[i] = change(words[i])
    return "".join(words)
