"""Escape control characters in generated text, so that it can neither control a terminal nor mislead a reader."""

import unicodedata

# Zero-width joiners (U+200C, U+200D) are not escaped, because Persian and Indic scripts need them.
_ALLOWED = "\n\t\u200c\u200d"


def visible(text: str) -> str:
    """Replace control, format and unpaired surrogate characters by their code points.

    A colour code becomes `<U+001B>[31m`, a right-to-left override `<U+202E>`. Line ends, tabs and joiners do not change.
    """
    return "".join(_shown(char) for char in text.replace("\r\n", "\n"))


def _shown(char: str) -> str:
    hidden = unicodedata.category(char) in ("Cc", "Cf", "Cs") and char not in _ALLOWED
    return f"<U+{ord(char):04X}>" if hidden else char
