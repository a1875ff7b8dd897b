"""Names of the sets of an audit; sets that a recipe adds must have other names."""

FORGET, RETAIN, UTILITY = "forget", "retain", "utility"
NEUTRAL = "neutral"
"""Texts unrelated to any forget set, in an audit with a suite."""
AUTO = "auto"
"""Value of `audit.control`: compare with the original on records that no model saw."""
PARAPHRASE = "_paraphrase"
"""Suffix of a set with paraphrased questions; it has generation, probability and gate metrics only."""


INSTRUCTIONS, GENERAL, OTHER_NAMES = "everyday_instructions", "general_knowledge", "other_names"
"""Sets of a gate evaluation: two are shipped, `other_names` holds the forget questions with other names."""


def is_forget(name: str) -> bool:
    """Return whether a set holds records to forget: the forget set, or a set whose name begins with `forget_`."""
    return name == FORGET or name.startswith(f"{FORGET}_")


def is_reserved(name: str) -> bool:
    """Return whether a set that a recipe adds may not have this name."""
    return name in (FORGET, RETAIN, UTILITY, NEUTRAL, INSTRUCTIONS, GENERAL, OTHER_NAMES) or name.endswith(PARAPHRASE)
