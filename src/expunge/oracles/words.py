"""Find whole words in a text: for the oracles `names` and `wordlist`."""

import re
import unicodedata
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

Words = Annotated[tuple[Annotated[str, Field(pattern=r"\S")], ...], Field(min_length=1)]
"""At least one word or phrase, none of them blank."""


def whole_words(words: Sequence[str]) -> re.Pattern[str]:
    """Return a pattern that finds any of the words if no letter, digit or underscore touches it; white space inside may vary."""
    spelled = [r"\s+".join(map(re.escape, unicodedata.normalize("NFC", word).split())) for word in words]
    return re.compile(rf"(?<!\w)(?:{'|'.join(spelled)})(?!\w)", re.IGNORECASE)


def contains(pattern: re.Pattern[str], text: str) -> bool:
    """Return whether a text contains a match of a pattern made by `whole_words`."""
    return pattern.search(unicodedata.normalize("NFC", text)) is not None
