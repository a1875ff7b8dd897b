"""The oracle `regex`: whether a text contains a match of a pattern."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import regex
from pydantic import Field

from expunge.errors import InputError

_SECONDS = 5.0


@dataclass(frozen=True)
class RegexSearch:
    """1 for a text that contains a match of the pattern, else 0.

    Attributes:
        pattern: a regular expression of the library `regex`, which accepts all patterns of Python's `re`.
        ignore_case: whether case does not matter.
    """

    pattern: Annotated[str, Field(min_length=1)]
    ignore_case: bool = True

    def __post_init__(self) -> None:
        """Raise ValueError if the pattern is not a regular expression."""
        try:
            regex.compile(self.pattern)
        except regex.error as error:
            raise ValueError(f"pattern: not a regular expression: {error}") from error

    def relevance(self, texts: Sequence[str]) -> list[float]:
        """Return 1.0 or 0.0 for each text.

        Raises:
            InputError: the pattern backtracks for seconds on a single text. A score of 0 would hide the text's contents.
        """
        pattern = regex.compile(self.pattern, regex.IGNORECASE if self.ignore_case else 0)
        try:
            return [float(pattern.search(text, timeout=_SECONDS) is not None) for text in texts]
        except TimeoutError as error:
            raise InputError(
                f"regex.pattern: {self.pattern!r} takes over {_SECONDS:g} s on one text; give one that backtracks less"
            ) from error
