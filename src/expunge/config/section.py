"""What every section of a recipe is."""

import re

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of the recipe: unknown names are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def pattern(given: str | None) -> str | None:
    """A regular expression, or nothing; raises `ValueError` for what is none."""
    try:
        re.compile(given or "")
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return given
