"""The same text otherwise spelt: what gates learn from beside the text as it is."""

import string

import numpy as np

SHORTEST_MISTYPED = 4
MISTYPED = 0.25


def mistyped(text: str, rng: np.random.Generator) -> str:
    """A letter is dropped, doubled or another, in a quarter of the words of four letters or more and in one at least."""
    words = text.split(" ")
    long = [i for i, word in enumerate(words) if len(word) >= SHORTEST_MISTYPED]
    if long:
        for i in rng.choice(long, max(1, round(len(long) * MISTYPED)), replace=False):
            at, word = int(rng.integers(1, len(words[i]) - 1)), words[i]
            instead = ("", 2 * word[at], string.ascii_lowercase[rng.integers(26)])[rng.integers(3)]
            words[i] = word[:at] + instead + word[at + 1 :]
    return " ".join(words)
