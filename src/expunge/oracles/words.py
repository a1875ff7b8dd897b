"""Does one of some words stand in the text: the names of those who must go, or rude words?"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from pydantic import Field

from expunge.data.texts import FOLDER

_Words = Annotated[tuple[Annotated[str, Field(pattern=r"\S")], ...], Field(min_length=1)]


@dataclass(frozen=True)
class Names:
    """1 for a text in which one of the names stands as a whole word, else 0.

    For custodians, who know whom to forget and not what is known of them.

    Attributes:
        names: each as it must stand there, whatever its case and white space; of "Ann Lee", "Lee" alone is not found.
    """

    names: _Words

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return whole_words(self.names)

    def relevance(self, texts: Sequence[str]) -> list[float]:
        """1.0 or 0.0 for each text."""
        return [float(stands(self._pattern, text)) for text in texts]


@dataclass(frozen=True)
class Wordlist:
    """1 for a text in which one of the words stands as a whole word, else 0.

    With the shipped list of mild rude words it is a second judge for toxicity, which shares nothing with any classifier.

    Attributes:
        words: words or phrases; none: the shipped list.
    """

    words: _Words | None = None

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return whole_words(rude_words() if self.words is None else self.words)

    def relevance(self, texts: Sequence[str]) -> list[float]:
        """1.0 or 0.0 for each text."""
        return [float(stands(self._pattern, text)) for text in texts]


def rude_words() -> list[str]:
    """The shipped list: mild rude words and phrases of English, in lower case, with their plurals."""
    return (FOLDER / "rude_words.txt").read_text(encoding="utf-8").splitlines()


def whole_words(words: Sequence[str]) -> re.Pattern[str]:
    """A pattern that finds any of some words where no letter, digit or underscore touches it; white space inside is any."""
    spelled = [r"\s+".join(map(re.escape, unicodedata.normalize("NFC", word).split())) for word in words]
    return re.compile(rf"(?<!\w)(?:{'|'.join(spelled)})(?!\w)", re.IGNORECASE)


def stands(pattern: re.Pattern[str], text: str) -> bool:
    """Whether a pattern of `whole_words` is found in a text."""
    return pattern.search(unicodedata.normalize("NFC", text)) is not None
