"""Filter sampled responses into forget data (Reveal-and-Release, arXiv 2509.14624, end of stage 1; the filters are ours)."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from expunge.metrics.text import is_degenerate
from expunge.metrics.words import words
from expunge.oracles.json_entities import first_json
from expunge.sandbox.search import search

TOO_SHORT, TOO_LONG, IRRELEVANT, DEGENERATE = "too short", "too long", "not relevant enough", "degenerate"
DUPLICATE, NEAR_DUPLICATE = "duplicate", "near duplicate"
REASONS = (TOO_SHORT, TOO_LONG, IRRELEVANT, DEGENERATE, DUPLICATE, NEAR_DUPLICATE)
"""Reasons to drop a response, in the order in which they are tested; a response counts for the first that applies."""

Dropped = dict[str, int]
"""Number of dropped responses by reason; it has every reason."""

Shingles = frozenset[tuple[str, ...]]


@dataclass(frozen=True)
class Response:
    """A sampled response.

    Attributes:
        instruction: the prompt.
        text: the model's answer.
        relevance: by the oracle, in [0, 1].
        unfinished: whether the text was truncated.
    """

    instruction: str
    text: str
    relevance: float
    unfinished: bool = False


def truncate(responses: Sequence[Response], pattern: str | None) -> list[Response]:
    """Cut each response after a pattern's first match; without a pattern or a match it does not change.

    Raises:
        InputError: the search takes too long.
    """
    if not pattern:
        return list(responses)
    spans = search(pattern, [response.text for response in responses], "data.forget.reveal.truncate_at")
    return [response if span is None else _cut(response, span[1]) for response, span in zip(responses, spans, strict=True)]


def _cut(response: Response, end: int) -> Response:
    return replace(response, text=response.text[:end], unfinished=end < len(response.text))


def filter_responses(
    responses: Sequence[Response], min_relevance: float, min_chars: int, max_chars: int, dedup_threshold: float
) -> tuple[list[Response], Dropped]:
    """Drop useless responses, and all but the most relevant of (near) duplicates.

    Args:
        responses: in the order in which they were sampled.
        min_relevance: least relevance, in [0, 1].
        min_chars: least number of characters, without surrounding white space.
        max_chars: largest number of characters, without surrounding white space.
        dedup_threshold: `similarity` from which two texts are near duplicates, in (0, 1].

    Returns:
        The remaining responses, the most relevant first and otherwise in the order given, and how many were dropped for each reason.
        Filtering the result again drops nothing.

    Raises:
        ValueError: dedup_threshold is not in (0, 1].
    """
    if not 0 < dedup_threshold <= 1:
        raise ValueError(f"dedup_threshold is in (0, 1], got {dedup_threshold}")
    seen, near = set[str](), _NearDuplicates(dedup_threshold, (response.text for response in responses))
    # Tested in this order, up to the first that applies. The last two compare with the responses selected so far.
    checks: dict[str, Callable[[Response], bool]] = {
        TOO_SHORT: lambda r: len(r.text.strip()) < min_chars,
        TOO_LONG: lambda r: len(r.text.strip()) > max_chars,
        IRRELEVANT: lambda r: r.relevance < min_relevance,
        DEGENERATE: lambda r: is_degenerate(_without_json_syntax(r.text)),
        DUPLICATE: lambda r: _normalised(r.text) in seen,
        NEAR_DUPLICATE: lambda r: near.has(r.text),
    }
    selected: list[Response] = []
    dropped = dict.fromkeys(REASONS, 0)
    for response in sorted(responses, key=lambda r: -r.relevance):
        reason = next((reason for reason, applies in checks.items() if applies(response)), None)
        if reason is not None:
            dropped[reason] += 1
            continue
        selected.append(response)
        seen.add(_normalised(response.text))
        near.add(response.text)
    return selected, dropped


def similarity(one: str, other: str) -> float:
    """Return the Jaccard index of the word 3-grams of two texts, in [0, 1], without regard to case and punctuation.

    One or two words form the only gram of their text; so do the characters of a text without words. In Chinese, Japanese and the like
    each character is a word, see `expunge.metrics.words`.
    """
    return _jaccard(shingles(one), shingles(other))


def shingles(text: str) -> Shingles:
    """Return the distinct word 3-grams of a text, at least one."""
    found = words(text) or [_normalised(text)]
    return frozenset(zip(found, found[1:], found[2:], strict=False)) or frozenset({tuple(found)})


class _NearDuplicates:
    """An index of texts that finds near duplicates exactly, without comparing every pair.

    Two sets with Jaccard index t have a gram in common among the first n - tn + 1 of each, in any fixed order (prefix filter, Chaudhuri
    et al., 2006). With the rarest grams first, few sets remain to compare with.
    """

    def __init__(self, threshold: float, texts: Iterable[str]):
        self.threshold = threshold
        self.frequency = Counter(gram for text in texts for gram in shingles(text))
        self.holders: dict[tuple[str, ...], list[Shingles]] = {}

    def has(self, text: str) -> bool:
        """Return whether a text is a near duplicate of one in the index."""
        grams = shingles(text)
        return any(_jaccard(grams, other) >= self.threshold for gram in self._prefix(grams) for other in self.holders.get(gram, ()))

    def add(self, text: str) -> None:
        """Add a text to the index."""
        grams = shingles(text)
        for gram in self._prefix(grams):
            self.holders.setdefault(gram, []).append(grams)

    def _prefix(self, grams: Shingles) -> list[tuple[str, ...]]:
        # In floating point 0.7 * 10 is a little more than 7.
        common = math.ceil(self.threshold * len(grams) - 1e-9)
        return sorted(grams, key=lambda gram: (self.frequency[gram], gram))[: len(grams) - common + 1]


def _jaccard(a: Shingles, b: Shingles) -> float:
    shared = len(a & b)
    return shared / (len(a) + len(b) - shared)


def _normalised(text: str) -> str:
    return " ".join(text.casefold().split())


def _without_json_syntax(text: str) -> str:
    """Return a text without the brackets and quotes of JSON, which make an ordinary short answer look degenerate."""
    parsed = first_json(text) if text.lstrip().startswith(("{", "[", "```")) else None
    if parsed is None:
        return text
    value, around = parsed
    keys, strings = list[str](), list[str]()
    _collect(value, keys, strings)
    # A key that occurs in every item of a list would look like a loop.
    return " ".join([*dict.fromkeys(keys), *strings, around.strip("`\n ")])


def _collect(value: Any, keys: list[str], strings: list[str]) -> None:
    if isinstance(value, dict):
        keys.extend(value)
    inner: Iterable[Any] = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in inner:
        _collect(part, keys, strings)
    if not isinstance(value, dict | list):
        strings.append(str(value))
