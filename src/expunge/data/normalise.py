"""Normalise texts: different spellings of the same letters and digits become equal, in any script."""

import unicodedata

import regex

_COMPATIBLE = regex.compile(r"[\p{L}\p{Nl}]")
_DIGIT = regex.compile(r"(?V1)[\p{Nd}--[0-9]]")
# Characters without a look of their own (soft hyphen, joiners, direction marks, the frame of a keycap emoji; not U+200B, which separates
# words), the Arabic elongation mark, and the vowel points of Arabic and Hebrew, which writers may leave out.
_DROPPED = regex.compile(
    r"(?V1)[[\p{Cf}\p{Me}\p{Variation_Selector}\u034F\u0640\u064B-\u0652\u0670\u0591-\u05BD\u05BF\u05C1\u05C2\u05C4\u05C5\u05C7]--[\u200B]]"
)
_SAME_SIGN = str.maketrans({**dict.fromkeys("’‘‛ʼʻʹˈ′´׳", "'"), "״": '"', "＇": "'", "＿": "_"})


def normalise(text: str) -> str:
    """Return a text in which two spellings of one word are equal.

    Composed or decomposed, upper or lower case, curly or straight apostrophe, with or without soft hyphens, full-width or not, digits of
    any script (as 0-9).
    """
    if text.isascii():
        return text.lower()
    text = unicodedata.normalize("NFC", text)
    if not unicodedata.is_normalized("NFKC", text):
        # Full-width letters, ligatures, Arabic presentation forms; not symbols: NFKC would make "xTM" of "x™".
        text = _COMPATIBLE.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text)
    text = _DIGIT.sub(lambda match: str(unicodedata.decimal(match[0], match[0])), text)
    text = _DROPPED.sub("", text).translate(_SAME_SIGN)
    # The capital dotted i of Turkish folds to an i and a combining dot.
    return unicodedata.normalize("NFC", text.casefold().replace("i\u0307", "i"))
