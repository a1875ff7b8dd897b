"""The oracle `regex`: whether a text contains a match of a pattern."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from expunge.sandbox.search import check_pattern, search


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
            check_pattern(self.pattern)
        except ValueError as error:
            raise ValueError(f"pattern: {error}") from error

    def relevance(self, texts: Sequence[str]) -> list[float]:
        """Return 1.0 or 0.0 for each text.

        Raises:
            InputError: the pattern backtracks for seconds on a single text. A score of 0 would hide the text's contents.
        """
        return [float(span is not None) for span in search(self.pattern, texts, "regex.pattern", self.ignore_case)]
