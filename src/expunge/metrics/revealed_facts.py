"""How much of a forgotten answer another answer tells: by its secret words, whomever it is about and however it is put."""

from collections import Counter
from collections.abc import Sequence

from expunge.data.find_names import SENTENCE_START
from expunge.data.records import Record
from expunge.data.scripts import PIECE
from expunge.metrics.distinctive_tokens import COMMON

PARTLY, TELLS = 0.25, 0.5
"""Shares of a forget answer's secret words: below the first an answer about others tells no forgotten fact, from the second on it does."""


def secret_words(records: Sequence[Record], others: Sequence[Record]) -> list[frozenset[str]]:
    """Return of each record the words of its answer that are neither in its prompt nor in 5 % or more of other answers.

    Where some of them are numbers or have a capital letter inside a sentence, only these: they carry the fact, and the others are often
    the wording of a template. Numbers have two digits or more. In scripts without spaces, pairs of neighbouring characters take
    the place of words.

    Args:
        records: whose answers are read.
        others: records whose answers define which words are common.
    """
    counts = Counter(word for other in others for word in _words(other.answer))
    common = {word for word, count in counts.items() if count >= COMMON * len(others)}
    in_prompts = [frozenset(word for turn in record.turns for word in _words(turn.content)) for record in records]
    found = []
    for record, words in zip(records, in_prompts, strict=True):
        harmless = common | words
        found.append(frozenset((_names_and_numbers(record.answer) - harmless) or (_words(record.answer) - harmless)))
    return found


def share_revealed(answer: str, secrets: Sequence[frozenset[str]]) -> float:
    """Return the largest share of one record's secret words that an answer holds; 0 if no record has any."""
    words = _words(answer)
    return max((len(words & secret) / len(secret) for secret in secrets if secret), default=0.0)


def tells_fact(answer: str, secrets: Sequence[frozenset[str]]) -> bool | None:
    """Return whether an answer tells a forgotten fact; None if it tells a part of one. `secrets`: see `secret_words`."""
    revealed = share_revealed(answer, secrets)
    return None if PARTLY <= revealed < TELLS else revealed >= TELLS


def _names_and_numbers(text: str) -> set[str]:
    if not any(char.isupper() for char in text):
        return set()
    pieces = [match for match in PIECE.finditer(text) if not SENTENCE_START.search(text[: match.start()])]
    return {match[0].casefold() for match in pieces if match.lastgroup != "run" and (match[0][0].isupper() or match[0][0].isdigit())}


def _words(text: str) -> set[str]:
    found = set[str]()
    for match in PIECE.finditer(text.casefold()):
        piece = match[0]
        found |= {piece[i : i + 2] for i in range(max(1, len(piece) - 1))} if match.lastgroup == "run" else {piece}
    return found
