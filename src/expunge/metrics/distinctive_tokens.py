"""Distinctive tokens of an answer: those that would leak it, because neither its prompt nor other answers hold them."""

from collections import Counter
from collections.abc import Sequence
from typing import cast

from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record
from expunge.data.scripts import mostly_latin
from expunge.metrics.distinctive_words import distinctive_by_word

COMMON = 0.05
_PART_OF_CHARACTER = "\ufffd"


def distinctive_tokens(builder: PromptBuilder, records: Sequence[Record], others: Sequence[Record]) -> list[tuple[bool, ...]]:
    """Mark the tokens of each answer that are neither in its prompt, nor in its alternatives, nor in 5 % or more of other answers.

    The other tokens (names from the question, "the", the end of turn) are no secret. A model that is pushed away from them loses its
    fluency.

    In scripts other than Latin a token is often one letter, or a part of one, that nearly every answer holds: there whole words, or pairs
    of characters, are compared, see `expunge.metrics.distinctive_words`.

    Args:
        builder: of the model's tokenizer.
        records: whose answers are marked.
        others: records whose answers define which words are common.

    Returns:
        For each record one flag per scored token of its answer.
    """
    other_scripts = [record for record in records if not mostly_latin(record.answer)]
    by_word = iter(distinctive_by_word(builder, other_scripts, others, COMMON) if other_scripts else [])
    counts = Counter(word for other in others for word in {_word(builder, token) for token in builder.record(other).labels})
    common = {word for word, count in counts.items() if count >= COMMON * len(others)}
    return [_by_token(builder, record, common) if mostly_latin(record.answer) else next(by_word) for record in records]


def _by_token(builder: PromptBuilder, record: Record, common: set[str]) -> tuple[bool, ...]:
    row = builder.record(record)
    known = {*row.prompt, builder.end_of_turn, *(token for text in record.alternatives for token in builder.answer(text))}
    harmless = common | {_word(builder, token) for token in known}
    return tuple(_word(builder, token) not in harmless for token in row.labels)


def _word(builder: PromptBuilder, token: int) -> str:
    """Return a token's text in lower case, without the space before it; of a part of a character, its number.

    All such parts decode to the same sign: as texts they would all be one.
    """
    text = cast(str, builder.tokenizer.decode([token])).strip().lower()
    return f"{text}{token}" if _PART_OF_CHARACTER in text else text
