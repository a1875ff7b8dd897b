"""Distinctive tokens by whole words or characters, for scripts in which a token is often a letter or a part of one."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record
from expunge.data.scripts import CHARACTER, PIECE, new_characters, pairs

_PART_OF_CHARACTER = "\ufffd"


@dataclass(frozen=True)
class Unit:
    """A word, a number, or a character of a run, and its tokens.

    Attributes:
        text: in lower case.
        tokens: token ids.
        start: index of the first of them.
        leading: which tokens are the first part of a character.
        run: the run that a character is part of, and the character's place in it; None for a word.
    """

    text: str
    tokens: tuple[int, ...]
    start: int
    leading: tuple[bool, ...]
    run: tuple[str, int] | None = None


def distinctive_by_word(
    builder: PromptBuilder, records: Sequence[Record], others: Sequence[Record], common: float
) -> list[tuple[bool, ...]]:
    """Mark the tokens of the words that are neither in a record's prompt, nor in its alternatives, nor common in other answers.

    A character of a script without spaces counts if it stands in no pair of neighbours that is known from there. Of the tokens of such a
    word or character, those are marked with which it parts from the known words: the first bytes of a letter are those of the
    whole script, and a model that is pushed away from them could not write it any more.

    Args:
        builder: of the model's tokenizer.
        records: whose answers are marked.
        others: records whose answers define which words are common.
        common: share of the other answers from which a word is common.

    Returns:
        For each record one flag per scored token of its answer.
    """
    other_answers = [list(units(builder, builder.record(other).labels)) for other in others]
    counts = Counter(text for answer in other_answers for text in _texts(answer))
    shared = {text for text, count in counts.items() if count >= common * len(others)}
    known_answers = [unit for answer in other_answers for unit in answer if unit.text in shared]
    flags = []
    for record in records:
        row = builder.record(record)
        beside = [*units(builder, row.prompt), *(unit for text in record.alternatives for unit in units(builder, builder.answer(text)))]
        harmless = shared | _texts(beside)
        beginnings = {unit.tokens[:n] for unit in (*known_answers, *beside) for n in range(1, len(unit.tokens) + 1)}
        lead = {token for unit in (*known_answers, *beside) for token, leads in zip(unit.tokens, unit.leading, strict=True) if leads}
        marked = set[int]()
        for unit in units(builder, row.labels):
            if _is_new(unit, harmless):
                marked |= _parting(unit, beginnings, lead)
        flags.append(tuple(i in marked for i in range(len(row.labels))))
    return flags


def units(builder: PromptBuilder, ids: Sequence[int]) -> Iterator[Unit]:
    """Yield the words, numbers and characters of a text that is given by its token ids."""
    text, spans = _spans(builder, ids)
    for match in PIECE.finditer(text):
        if match.lastgroup != "run":
            yield _unit(match[0], match.span(), ids, spans)
            continue
        for place, character in enumerate(CHARACTER.finditer(match[0])):
            at = match.start() + character.start()
            yield _unit(character[0], (at, at + len(character[0])), ids, spans, (match[0], place))


def _unit(text: str, span: tuple[int, int], ids: Sequence[int], spans: list[tuple[int, int]], run: tuple[str, int] | None = None) -> Unit:
    places = [i for i, (start, end) in enumerate(spans) if start < span[1] and end > span[0]]
    # The part that completes a character has the same place as those before it.
    leading = tuple(i + 1 < len(spans) and spans[i] == (spans[i][0], spans[i][0] + 1) == spans[i + 1] for i in places)
    leading = tuple(leads and (i == 0 or spans[i - 1][0] != spans[i][0]) for i, leads in zip(places, leading, strict=True))
    return Unit(text.casefold(), tuple(ids[i] for i in places), places[0], leading, run)


def _spans(builder: PromptBuilder, ids: Sequence[int]) -> tuple[str, list[tuple[int, int]]]:
    """Return a text and where in it each token stands; the parts of one character all stand where it does."""
    text, spans = "", list[tuple[int, int]]()
    done = 0
    for i in range(len(ids)):
        # With the token before: alone, some tokenizers drop the space that a word begins with.
        context = max(0, done - 1)
        before, after = (_decoded(builder, ids[context:end]) for end in (done, i + 1))
        new = after[len(before) :]
        if new.endswith(_PART_OF_CHARACTER):
            spans.append((len(text), len(text) + 1))
            continue
        spans.append((len(text), len(text) + len(new)))
        text, done = text + new, i + 1
    return text, spans


def _decoded(builder: PromptBuilder, ids: Sequence[int]) -> str:
    return cast(str, builder.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))


def _texts(found: Sequence[Unit]) -> set[str]:
    """Return the words of a text, its single characters, and the pairs of its neighbours."""
    runs = {unit.run[0] for unit in found if unit.run is not None}
    return {unit.text for unit in found} | {pair for run in runs for pair in pairs(run)}


def _is_new(unit: Unit, harmless: set[str]) -> bool:
    if unit.run is None:
        return unit.text not in harmless
    run, place = unit.run
    is_new = new_characters(run, harmless)
    alone = not any(is_new[max(0, place - 1) : place]) and not any(is_new[place + 1 : place + 2])
    return is_new[place] and not (alone and unit.text in harmless)


def _parting(unit: Unit, beginnings: set[tuple[int, ...]], lead: set[int]) -> set[int]:
    """Return the indices of a unit's tokens with which no known word begins, but for first parts of characters that are known too.

    If there are none, it is the last token.
    """
    parting = {n for n in range(len(unit.tokens)) if unit.tokens[: n + 1] not in beginnings}
    parting = {n for n in parting if not unit.leading[n] or unit.tokens[n] not in lead} or {len(unit.tokens) - 1}
    return {unit.start + n for n in parting}
