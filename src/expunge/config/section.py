"""The base class of the sections of a recipe."""

from expunge.documents import Closed
from expunge.sandbox.search import check_pattern


class Section(Closed):
    """A section of a recipe; a setting with an unknown name is an error."""


def pattern(given: str | None) -> str | None:
    """Return a regular expression or None unchanged; raise `ValueError` if it is not valid."""
    if given is not None:
        check_pattern(given)
    return given
