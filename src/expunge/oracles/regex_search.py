"""Does a pattern stand in the text?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import regex
from pydantic import Field

from expunge.errors import InputError

_SECONDS = 5.0


@dataclass(frozen=True)
class RegexSearch:
    """1 for a text in which the pattern is found anywhere, else 0.

    Attributes:
        pattern: a regular expression of the library `regex`, which reads all that Python's `re` does.
        ignore_case: whether upper and lower case are alike.
    """

    pattern: Annotated[str, Field(min_length=1)]
    ignore_case: bool = True

    def __post_init__(self) -> None:
        """Raise ValueError for a pattern that is no regular expression."""
        try:
            regex.compile(self.pattern)
        except regex.error as error:
            raise ValueError(f"pattern: not a regular expression: {error}") from error

    def relevance(self, texts: Sequence[str]) -> list[float]:
        """1.0 or 0.0 for each text.

        Raises:
            InputError: the pattern backtracks for seconds over a single text. Taking that for 0 would hide what the text holds.
        """
        pattern = regex.compile(self.pattern, regex.IGNORECASE if self.ignore_case else 0)
        try:
            return [float(pattern.search(text, timeout=_SECONDS) is not None) for text in texts]
        except TimeoutError as error:
            raise InputError(
                f"regex.pattern: {self.pattern!r} takes over {_SECONDS:g} s on one text; give one that backtracks less"
            ) from error
