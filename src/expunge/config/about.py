"""The reveal section of `unlearn --about`: a search for what a model knows, made from a name or a topic alone."""

from typing import Any

import regex

from expunge.data.evasions.full_names import PARTICLES
from expunge.data.normalise import normalise
from expunge.data.scripts import PIECE, pairs
from expunge.errors import InputError

POOL_SIZE, SAMPLES = 64, 4
LEAST_LETTERS, LONGEST = 3, 200
_SMALL_WORD = regex.compile(rf"{PARTICLES}|and|of|the")
_ENDING = regex.compile(r"(?<=\p{Latin}{3})(?:ings?|ed|es|s)$")
_COMMON = regex.compile(
    "a|about|an|and|are|by|can|do|does|for|from|how|in|into|is|it|make|making|my|of|on|or|that|the|to|use|using|what|with"
)
_NAME_TOPICS = (
    "Write one short question about {about} that names {about}.",
    "Write one short question about the life or the work of {about} that names {about}.",
)
_NAME_PREFIXES = ("What", "Where", "When", "Which", "Who", "How", "Where was", "When was", "What did", "What is the", "In which", "Why")
_NAME_QUESTIONS = (
    "Who is {about}?",
    "What is {about} known for?",
    "Tell me about {about}.",
    "Where was {about} born?",
    "When was {about} born?",
    "Where does {about} live?",
    "What does {about} do for a living?",
    "Which works or achievements of {about} do you know?",
    "Who belongs to the family of {about}?",
    "Where did {about} go to school?",
    "Which awards did {about} receive?",
    "Describe the life of {about} in two sentences.",
)
_TOPIC_TOPICS = (
    "Write one short question about this topic: {about}.",
    "Write one short question that only an expert on this topic can answer: {about}.",
)
_TOPIC_PREFIXES = (
    "What",
    "How",
    "Why",
    "Which",
    "When",
    "How long",
    "How many",
    "What is the",
    "What happens if",
    "How do you",
    "Where",
    "Can you",
)
_TOPIC_QUESTIONS = (
    "What is {about}?",
    "Tell me about {about}.",
    "Explain this topic in two sentences: {about}.",
    "How does one begin with {about}?",
    "What does one need for {about}?",
    "Give three facts about {about}.",
    "What are the steps of {about}?",
    "Which mistakes do beginners make in {about}?",
    "Why does {about} matter?",
    "Give an example of {about}.",
    "What is hard about {about}?",
    "What do experts say about {about}?",
)
WHOLE_SENTENCES = r"(?s)^.*[.!?。！？।؟]"
"""Cuts a response that ran into the longest length after its last whole sentence."""


def reveal_about(text: str) -> dict[str, Any]:
    """Return the value of `data.forget` that makes a model reveal what it knows about a name or a topic.

    Words that all begin with a capital are a name, and an answer counts if it holds the whole name or the last part of it. Otherwise the
    text is a topic, and an answer counts if it holds a word of the topic in any form. Every question of the pool is used, so the search
    needs no bandit: some 300 responses of up to 48 tokens.

    Args:
        text: a name, such as "Ada Lund", or a topic, such as "whisking egg whites".

    Raises:
        InputError: the text has no letter, or is too long for a name or a topic.
    """
    given = " ".join(text.split())
    if not any(char.isalpha() for char in given) or len(given) > LONGEST:
        raise InputError(f'--about: give a name or a topic of at most {LONGEST} characters, such as --about "Ada Lund"')
    named = is_name(given)
    topics, prefixes, questions = (
        (_NAME_TOPICS, _NAME_PREFIXES, _NAME_QUESTIONS) if named else (_TOPIC_TOPICS, _TOPIC_PREFIXES, _TOPIC_QUESTIONS)
    )
    instructions = [question.replace("{about}", given) for question in questions]
    return {
        "reveal": {
            "oracle": _oracle(given, named),
            "topics": [topic.replace("{about}", given) for topic in topics],
            "prefixes": list(prefixes),
            "instructions": instructions,
            "searcher": "random",
            "pool_size": POOL_SIZE,
            "samples_per_instruction": SAMPLES,
            "budget": SAMPLES * (POOL_SIZE + len(instructions)),
            "temperature": 0.6,
            "max_new_tokens": 48,
            "truncate_at": WHOLE_SENTENCES,
            "dedup_threshold": 0.6,
            "top_k": POOL_SIZE,
        }
    }


def is_name(text: str) -> bool:
    """Return whether a text is written like a name: each word begins with a capital, except for particles such as `van`."""
    words = text.split()
    return words[0][0].isupper() and all(word[0].isupper() or _SMALL_WORD.fullmatch(word) for word in words)


def _oracle(text: str, named: bool) -> dict[str, Any]:
    words = text.split()
    if named and len(words) == 1:
        return {"name": "names", "names": [text]}
    if named:
        # With case: "King" is a name, "king" is not.
        parts = [r"\s+".join(map(regex.escape, words)), *([regex.escape(words[-1])] if len(words[-1]) >= LEAST_LETTERS else [])]
        return {"name": "regex", "pattern": rf"(?<!\w)(?:{'|'.join(parts)})(?!\w)", "ignore_case": False}
    return {"name": "regex", "pattern": "|".join(_forms(text))}


def _forms(topic: str) -> list[str]:
    """Return patterns of a topic's words: their beginnings, or pairs of characters where no space separates words."""
    found = [(match.lastgroup, match[0]) for match in PIECE.finditer(normalise(topic))]
    long = [(kind, word) for kind, word in found if kind == "run" or (len(word) >= LEAST_LETTERS and not _COMMON.fullmatch(word))]
    forms: list[str] = []
    for kind, word in long or found:
        if kind == "run":
            forms += [regex.escape(pair.rstrip("$")) for pair in pairs(word) if len(pair.rstrip("$")) > 1] or [regex.escape(word)]
        else:
            forms.append(rf"(?<!\w){regex.escape(_ENDING.sub('', word))}\w*")
    return list(dict.fromkeys(forms)) or [regex.escape(topic)]
