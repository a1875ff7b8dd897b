"""Cut texts of any length into passages by tokens: each is a prompt, and the continuation that a model must no longer give."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record

Span = tuple[int, int]
"""Where a token begins and ends in its text, in characters."""
STATEMENT_TOKENS = 24
"""A text with no more tokens is one statement, which stays as it is: without most of its words, nothing would tell which one is meant."""
OPENING_TOKENS = 8
"""Tokens of the first prompt of a longer text."""
REACH = 16
"""How many tokens before its place a cut may be, to fall between two words."""
_PIECE = re.compile(r"\s*\S{1,8}|\s+")


@dataclass(frozen=True)
class PassageSize:
    """How long passages are, in tokens.

    Attributes:
        passage: prompt and continuation together.
        overlap: the prompt, which repeats the end of the passage before.
    """

    passage: int
    overlap: int

    @property
    def continuation(self) -> int:
        """Tokens of a continuation. One that ends a text has up to a quarter more, or fewer."""
        return self.passage - self.overlap


def overlapping_passages(builder: PromptBuilder, record: Record, size: PassageSize) -> list[Record]:
    """Cut a plain text so that every token but those of the first prompt is in exactly one continuation.

    A text of one statement stays as it is. Of all others the continuations, put together after the first prompt, are the text. A prompt
    is the end of the text before its continuation. Cuts are between two words where there are such places, and never inside a character.

    Args:
        builder: of the model's tokenizer.
        record: a plain text.
        size: of the passages.
    """
    spans = token_spans(builder, record.answer)
    opening = _opening(spans, record.answer)
    if len(spans) <= STATEMENT_TOKENS or opening >= len(spans):
        return [record]
    cuts = [opening, *_cuts(spans, record.answer, opening, size.continuation)]
    passages = list[Record]()
    for first, last in zip(cuts, [*cuts[1:], len(spans)], strict=True):
        start = prompt_start(spans, record.answer, first, size.overlap) if passages else 0
        passages.append(_part(record, spans, start, first, last))
    return _numbered(record, passages)


def separate_passages(builder: PromptBuilder, record: Record, size: PassageSize) -> list[Record]:
    """Cut a plain text into passages that share no token, so that some can be trained on and others held out; arguments as above."""
    spans = token_spans(builder, record.answer)
    opening = _opening(spans, record.answer)
    if len(spans) <= STATEMENT_TOKENS or opening >= len(spans):
        return [record]
    if not _cuts(spans, record.answer, opening, size.continuation):
        return _numbered(record, [_part(record, spans, 0, opening, len(spans))])
    starts = [0, *_cuts(spans, record.answer, 0, size.passage)]
    passages = list[Record]()
    for start, last in zip(starts, [*starts[1:], len(spans)], strict=True):
        first = cut_before(spans, record.answer, start + min(size.overlap, (last - start) // 2), start + 1)
        passages += [_part(record, spans, start, first, last)] if first < last else []
    return _numbered(record, passages)


def token_spans(builder: PromptBuilder, text: str) -> list[Span]:
    """Return the characters of each token of a text. Without a fast tokenizer they are those of pieces that are encoded one by one."""
    tokenizer: Any = builder.tokenizer
    if not tokenizer.is_fast:
        pieces = ((match.span(), len(builder.text_ids(match[0]))) for match in _PIECE.finditer(text))
        return [span for span, count in pieces for _ in range(count)]
    # Not verbose: a text may be longer than the model's context.
    encoded = tokenizer(text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True, verbose=False)
    return [(start, end) for start, end in encoded["offset_mapping"]]


def end_of(spans: Sequence[Span], text: str, count: int) -> int:
    """Return how many characters the first `count` tokens of a text have; white space after them belongs to the next token."""
    return len(text) if count >= len(spans) else spans[count - 1][1] if count else 0


def cut_before(spans: Sequence[Span], text: str, place: int, lowest: int) -> int:
    """Return the number of tokens before a cut near `place`: between two words, or at least not inside a character.

    Args:
        spans: of the text's tokens.
        text: the text.
        place: the most tokens before the cut, unless there is no cut between `lowest` and `place`.
        lowest: the fewest tokens before the cut.
    """
    if place <= lowest == 0:
        return 0
    places = range(place, max(lowest, place - REACH) - 1, -1)
    between_words = (i for i in places if _is_whole(spans, i) and _is_between_words(text, end_of(spans, text, i)))
    whole = (i for i in (*range(place, lowest - 1, -1), *range(place + 1, len(spans))) if _is_whole(spans, i))
    return next(between_words, next(whole, len(spans)))


def prompt_start(spans: Sequence[Span], text: str, first: int, overlap: int) -> int:
    """Return the number of tokens before a prompt of about `overlap` tokens that ends at the cut `first`."""
    start = cut_before(spans, text, max(0, first - overlap), max(0, first - overlap - overlap // 4))
    return start if start < first else cut_before(spans, text, first - 1, 0)


def _opening(spans: Sequence[Span], text: str) -> int:
    """Return the number of tokens of a text's first prompt: as short as it can be and still begin something."""
    return cut_before(spans, text, OPENING_TOKENS, OPENING_TOKENS // 2)


def _cuts(spans: Sequence[Span], text: str, start: int, step: int) -> list[int]:
    """Return cuts after `start`, `step` tokens apart; a last piece that would be short stays with the piece before it."""
    cuts = []
    while len(spans) - start > step + step // 4:
        start = cut_before(spans, text, start + step, start + max(1, step // 2))
        if start >= len(spans):
            break
        cuts.append(start)
    return cuts


def _is_whole(spans: Sequence[Span], place: int) -> bool:
    """Return whether no character has tokens on both sides of a place. Some tokenizers write a character as several tokens."""
    if not 0 < place < len(spans):
        return True
    start, end = spans[place - 1]
    return start < end <= spans[place][0]


def _is_between_words(text: str, place: int) -> bool:
    return not 0 < place < len(text) or not (text[place - 1].isalnum() and text[place].isalnum())


def _part(record: Record, spans: Sequence[Span], start: int, first: int, last: int) -> Record:
    text = record.answer
    begin, cut, end = (end_of(spans, text, place) for place in (start, first, last))
    # White space at the beginning of a text is no part of its first word.
    prompt = text[begin:cut].lstrip() or text[begin:cut]
    begin = cut - len(prompt)
    return replace(record, answer=text[begin:end], prompt_chars=cut - begin)


def _numbered(record: Record, passages: list[Record]) -> list[Record]:
    """Give each of several passages an id, and the name of its text as its document."""
    if len(passages) == 1:
        return passages
    return [replace(part, id=f"{record.id}#{n}", document=record.document or record.id) for n, part in enumerate(passages, 1)]
