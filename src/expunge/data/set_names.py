"""Names of the sets that every audit has; a recipe's own sets are called otherwise."""

FORGET, RETAIN, UTILITY = "forget", "retain", "utility"
NEUTRAL = "neutral"
"""Texts that have nothing to do with any forget set, of an audit with a suite."""
AUTO = "auto"
"""As the control: the original, asked for records that no model saw."""
PARAPHRASE = "_paraphrase"
"""Suffix of a set whose questions are put in other words: generation, probability and gate only."""


INSTRUCTIONS, GENERAL, OTHER_NAMES = "everyday_instructions", "general_knowledge", "other_names"
"""Sets of a gate evaluation: two are shipped, `other_names` holds the forget questions with other names."""


def is_forget(name: str) -> bool:
    """Whether a set holds what was to be forgotten: the forget set, or one whose name begins with `forget_`."""
    return name == FORGET or name.startswith(f"{FORGET}_")


def is_reserved(name: str) -> bool:
    """Whether a set of a recipe's own may not be called so."""
    return name in (FORGET, RETAIN, UTILITY, NEUTRAL, INSTRUCTIONS, GENERAL, OTHER_NAMES) or name.endswith(PARAPHRASE)
