"""Which tokens of an answer give the truth away: those that nothing but it says."""

from collections import Counter
from collections.abc import Sequence
from typing import cast

from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record

COMMON = 0.05


def distinctive_tokens(builder: PromptBuilder, records: Sequence[Record], others: Sequence[Record]) -> list[tuple[bool, ...]]:
    """Of each record's answer, which tokens stand neither in its prompt nor in its alternatives nor in one in twenty other answers.

    The rest (names that were asked about, "the", the end of turn) is no secret, and a model that is pushed away from it stammers.

    Args:
        builder: of the model's tokenizer.
        records: whose answers are meant.
        others: whose answers say what is common.

    Returns:
        For each record a truth value a token of its answer.
    """
    counts = Counter(word for other in others for word in {_word(builder, token) for token in builder.record(other).answer})
    common = {word for word, count in counts.items() if count >= COMMON * len(others)}
    found = []
    for record in records:
        row = builder.record(record)
        said = {*row.prompt, builder.end_of_turn, *(token for text in record.alternatives for token in builder.answer(text))}
        harmless = common | {_word(builder, token) for token in said}
        found.append(tuple(_word(builder, token) not in harmless for token in row.answer))
    return found


def _word(builder: PromptBuilder, token: int) -> str:
    """A token's text, whatever its case and the space before it."""
    return cast(str, builder.tokenizer.decode([token])).strip().lower()
