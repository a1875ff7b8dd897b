"""Make generated text harmless to look at: what would steer a terminal or a reader's eye is shown, not obeyed."""

import unicodedata

# Joiners shape the letters of Persian and of Indic scripts.
_KEPT = "\n\t\u200c\u200d"


def visible(text: str) -> str:
    """The text with control, format and unpaired surrogate characters replaced by their code points.

    A colour code reads `<U+001B>[31m`, a right-to-left override `<U+202E>`. Line ends, tabs and joiners stay.
    """
    return "".join(_shown(char) for char in text.replace("\r\n", "\n"))


def _shown(char: str) -> str:
    steers = unicodedata.category(char) in ("Cc", "Cf", "Cs") and char not in _KEPT
    return f"<U+{ord(char):04X}>" if steers else char
