"""The oracle `wordlist`: whether a text contains a word of a list, by default of mild rude words."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import regex

from expunge.data.texts import FOLDER
from expunge.oracles.words import Words, contains, whole_words


@dataclass(frozen=True)
class Wordlist:
    """1 for a text that contains one of the words as a whole word, else 0.

    With the default list it is a second judge for toxicity that is independent of any classifier.

    Attributes:
        words: words or phrases; none: the shipped list of mild rude words.
    """

    words: Words | None = None

    @cached_property
    def _pattern(self) -> regex.Pattern[str]:
        return whole_words(rude_words() if self.words is None else self.words)

    def relevance(self, texts: Sequence[str]) -> list[float]:
        """Return 1.0 or 0.0 for each text."""
        return [float(contains(self._pattern, text)) for text in texts]


def rude_words() -> list[str]:
    """Return the shipped list: mild rude English words and phrases, in lower case, with their plurals."""
    return (FOLDER / "rude_words.txt").read_text(encoding="utf-8").splitlines()
