"""Which of a model's sampled responses become forget data (Reveal-and-Release, arXiv 2509.14624, end of stage 1; filters are ours)."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from expunge.metrics.text import is_degenerate
from expunge.oracles.json_entities import first_json

TOO_SHORT, TOO_LONG, IRRELEVANT, DEGENERATE = "too short", "too long", "not relevant enough", "degenerate"
DUPLICATE, NEAR_DUPLICATE = "duplicate", "near duplicate"
REASONS = (TOO_SHORT, TOO_LONG, IRRELEVANT, DEGENERATE, DUPLICATE, NEAR_DUPLICATE)
"""Why a response is dropped, in the order in which it is asked: the first that holds is counted."""

Dropped = dict[str, int]
"""How many responses were dropped, by reason; every reason is there."""

Shingles = frozenset[tuple[str, ...]]


@dataclass(frozen=True)
class Response:
    """What the model said once.

    Attributes:
        instruction: what it was asked.
        text: its answer.
        relevance: what the oracle says of it, in [0, 1].
        unfinished: whether it said more than this.
    """

    instruction: str
    text: str
    relevance: float
    unfinished: bool = False


def up_to(response: Response, pattern: str | None) -> Response:
    """A response up to the end of a pattern's first match; all of it where there is no pattern or no match."""
    found = re.search(pattern, response.text) if pattern else None
    return response if found is None else replace(response, text=response.text[: found.end()], unfinished=found.end() < len(response.text))


def kept_responses(
    responses: Sequence[Response], min_relevance: float, min_chars: int, max_chars: int, dedup_threshold: float
) -> tuple[list[Response], Dropped]:
    """Drop what is no use, and all but the most relevant of those that say the same.

    Args:
        responses: as they were sampled.
        min_relevance: least relevance, in [0, 1].
        min_chars: least number of characters, outer white space not counted.
        max_chars: largest number of characters.
        dedup_threshold: `similarity` from which two texts are near duplicates, in (0, 1].

    Returns:
        Those kept, the most relevant first and else in the order given, and how many were dropped for which reason. Kept again,
        they are all kept; the same responses in the same order give the same.

    Raises:
        ValueError: dedup_threshold is not in (0, 1].
    """
    if not 0 < dedup_threshold <= 1:
        raise ValueError(f"dedup_threshold is in (0, 1], got {dedup_threshold}")
    seen, alike = set[str](), _Alike(dedup_threshold, (response.text for response in responses))
    # Asked in this order, and no further than the first that holds: only what is kept so far is remembered by the last two.
    checks: dict[str, Callable[[Response], bool]] = {
        TOO_SHORT: lambda r: len(r.text.strip()) < min_chars,
        TOO_LONG: lambda r: len(r.text.strip()) > max_chars,
        IRRELEVANT: lambda r: r.relevance < min_relevance,
        DEGENERATE: lambda r: is_degenerate(_said(r.text)),
        DUPLICATE: lambda r: _normalised(r.text) in seen,
        NEAR_DUPLICATE: lambda r: alike.has(r.text),
    }
    kept: list[Response] = []
    dropped = dict.fromkeys(REASONS, 0)
    for response in sorted(responses, key=lambda r: -r.relevance):
        reason = next((reason for reason, holds in checks.items() if holds(response)), None)
        if reason is not None:
            dropped[reason] += 1
            continue
        kept.append(response)
        seen.add(_normalised(response.text))
        alike.add(response.text)
    return kept, dropped


def similarity(one: str, other: str) -> float:
    """Jaccard index of the word 3-grams of two texts, in [0, 1]; words without case, and nothing else.

    A text of one or two words has them as its only gram, one without words its characters.
    """
    return _jaccard(shingles(one), shingles(other))


def shingles(text: str) -> Shingles:
    """The distinct word 3-grams of a text, at least one."""
    words = re.findall(r"\w+", text.lower()) or [_normalised(text)]
    return frozenset(zip(words, words[1:], words[2:], strict=False)) or frozenset({tuple(words)})


class _Alike:
    """The texts kept so far, and which of them another one is near to: exact, without a look at every pair.

    Sets of which a share t is common have a gram in common among the first n - tn + 1 of each, whatever the order (prefix filter,
    Chaudhuri et al., 2006). With the rarest first there are few sets to compare with, however alike their phrases.
    """

    def __init__(self, near: float, texts: Iterable[str]):
        self.near = near
        self.frequency = Counter(gram for text in texts for gram in shingles(text))
        self.holders: dict[tuple[str, ...], list[Shingles]] = {}

    def has(self, text: str) -> bool:
        """Whether the text is near to one of them."""
        grams = shingles(text)
        return any(_jaccard(grams, other) >= self.near for gram in self._first(grams) for other in self.holders.get(gram, ()))

    def add(self, text: str) -> None:
        """Keep a text."""
        grams = shingles(text)
        for gram in self._first(grams):
            self.holders.setdefault(gram, []).append(grams)

    def _first(self, grams: Shingles) -> list[tuple[str, ...]]:
        # 0.7 * 10 is a little more than 7.
        common = math.ceil(self.near * len(grams) - 1e-9)
        return sorted(grams, key=lambda gram: (self.frequency[gram], gram))[: len(grams) - common + 1]


def _jaccard(a: Shingles, b: Shingles) -> float:
    shared = len(a & b)
    return shared / (len(a) + len(b) - shared)


def _normalised(text: str) -> str:
    return " ".join(text.casefold().split())


def _said(text: str) -> str:
    """What a text says without the brackets and quotes of JSON, which make an ordinary short answer look like noise."""
    found = first_json(text) if text.lstrip().startswith(("{", "[", "```")) else None
    if found is None:
        return text
    value, around = found
    keys, strings = list[str](), list[str]()
    _collect(value, keys, strings)
    # A key stands in every row of a list and would look like a loop.
    return " ".join([*dict.fromkeys(keys), *strings, around.strip("`\n ")])


def _collect(value: Any, keys: list[str], strings: list[str]) -> None:
    if isinstance(value, dict):
        keys.extend(value)
    inner: Iterable[Any] = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in inner:
        _collect(part, keys, strings)
    if not isinstance(value, dict | list):
        strings.append(str(value))
