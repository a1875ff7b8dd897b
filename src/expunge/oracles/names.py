"""The oracle `names`: whether a text contains one of some names."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import regex

from expunge.oracles.words import Words, contains, whole_words


@dataclass(frozen=True)
class Names:
    """1 for a text that contains one of the names as whole words, else 0.

    For users who know whom the model must forget, but not what it knows about them.

    Attributes:
        names: full names; case and white space do not matter, and "Lee" alone does not match "Ann Lee".
    """

    names: Words

    @cached_property
    def _pattern(self) -> regex.Pattern[str]:
        return whole_words(self.names)

    def relevance(self, texts: Sequence[str]) -> list[float]:
        """Return 1.0 or 0.0 for each text."""
        return [float(contains(self._pattern, text)) for text in texts]
