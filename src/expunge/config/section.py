"""The base class of the sections of a recipe."""

import re

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A section of a recipe; a setting with an unknown name is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def pattern(given: str | None) -> str | None:
    """Return a regular expression or None unchanged; raise `ValueError` if it is not valid."""
    try:
        re.compile(given or "")
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return given
