"""Find records that are in the forget set and in the retain set: the same question in another spelling, or nearly the same."""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from zlib import crc32

import regex

from expunge.data.normalise import normalise
from expunge.data.records import Record
from expunge.errors import InputError, quoted

NEAR = 0.75
"""Least share of character sequences that two near-duplicates have in common (Jaccard)."""
CANDIDATE = 0.5
"""The share at which MinHash proposes half of the pairs; of those at `NEAR` it proposes 99.8 %."""
PERMUTATIONS = 128
BATCH = 10_000
# White space, quotation marks and punctuation; not signs that carry meaning in code and arithmetic, nor those inside or before a number.
_SPACE = regex.compile(r"(?<!\d)[\s\u200B]+|[\s\u200B]+(?!\d)")
_SIGN = r"[\p{P}`--[#%&*/@\\\p{Pd}]]"
_IGNORED = regex.compile(rf"(?V1)(?<!\d){_SIGN}|{_SIGN}(?!\d)|(?<!\d)\p{{Pd}}(?!\d)|(?<=\d)\p{{Pd}}(?!\w)")


def check_overlap(forget: Sequence[Record], retain: Sequence[Record], forget_name: str, retain_name: str, allow: bool) -> int:
    """Count the retain records that are in the forget set too.

    Two records are the same if their user and assistant turns, or their texts, are the same apart from what `comparable` leaves out.
    System message and answer do not count: to retain a question with another answer still trains against forgetting it.

    Args:
        forget: the forget set.
        retain: the retain set.
        forget_name: the forget file as the user gave it, for the error.
        retain_name: the retain file as the user gave it.
        allow: count overlapping records instead of raising on the first.

    Raises:
        InputError: there is an overlap and it is not allowed.
    """
    overlapping = shared_records(forget, retain)
    if overlapping and not allow:
        retained, forgotten = overlapping[0], shared_records(overlapping[:1], forget)[0]
        common = "record" if comparable(retained.answer) == comparable(forgotten.answer) else "question"
        count = len(overlapping)
        remedy = "remove one of them, or allow both" if count == 1 else f"remove the {count} retain records that are in both, or allow them"
        same = f"{place(retain_name, retained)}: the same {common} as {place(forget_name, forgotten)}"
        raise InputError(f"{same}; {remedy} with `expunge unlearn --allow-overlap`")
    return len(overlapping)


def shared_records(first: Sequence[Record], second: Sequence[Record]) -> list[Record]:
    """Return the records of the second set that are in the first too, see `check_overlap`."""
    known = {_comparable_turns(record) for record in first}
    return [record for record in second if _comparable_turns(record) in known]


def comparable(text: str) -> str:
    """Return a text without white space and punctuation, normalised: two texts that a reader takes for the same become equal."""
    normal = normalise(text)
    return _IGNORED.sub("", _SPACE.sub("", normal)) or normal


@dataclass(frozen=True)
class NearDuplicate:
    """Two records in almost the same words.

    Attributes:
        forget: the forget record.
        retain: the retain record.
        share: of the character sequences of both that they have in common (Jaccard), from `NEAR` to 1.
    """

    forget: Record
    retain: Record
    share: float


def near_duplicates(forget: Sequence[Record], retain: Sequence[Record]) -> list[NearDuplicate]:
    """Return each retain record that is nearly the same as a forget record, with the most similar one; the most similar pairs first.

    MinHash (Broder, 1997) proposes pairs, and their character sequences are then compared. Records that `check_overlap` counts are not
    among them.
    """
    # Imported here because it loads SciPy, which only `expunge validate` needs for records.
    from datasketch import MinHash, MinHashLSH

    def minhash(sequences: set[str]) -> MinHash:
        sketch = MinHash(num_perm=PERMUTATIONS, seed=1, hashfunc=crc32)
        encoded = [sequence.encode() for sequence in sequences]
        # The library makes a table of all sequences and permutations: of a book it would fill the memory.
        for start in range(0, len(encoded), BATCH):
            sketch.update_batch(encoded[start : start + BATCH])
        return sketch

    # A record that differs in case or punctuation alone is no near-duplicate but the same one.
    of_forget = {turns: record for record in reversed(forget) if (turns := _comparable_turns(record))}
    known = [(record, _sequences(turns)) for turns, record in of_forget.items()]
    index = MinHashLSH(threshold=CANDIDATE, num_perm=PERMUTATIONS)
    for i, (_, sequences) in enumerate(known):
        index.insert(i, minhash(sequences))
    found = []
    for record in retain:
        turns = _comparable_turns(record)
        if turns in of_forget:
            continue
        sequences = _sequences(turns)
        candidates = sorted(i for i in index.query(minhash(sequences)) if isinstance(i, int))
        shares = [(len(sequences & known[i][1]) / len(sequences | known[i][1]), -i) for i in candidates]
        if shares and max(shares)[0] >= NEAR:
            share, i = max(shares)
            found.append(NearDuplicate(known[-i][0], record, share))
    return sorted(found, key=lambda pair: -pair.share)


def place(name: str, record: Record) -> str:
    """Return where a record stands: `file:line`, or the file and the record's id."""
    return f"{name}:{record.line}" if record.line is not None else f"{name}, record {quoted(record.id)}"


def _comparable_turns(record: Record) -> tuple[tuple[str, str], ...]:
    turns = tuple((turn.role, comparable(turn.content)) for turn in record.turns if turn.role != "system")
    return turns or (("text", comparable(record.answer)),)


def _sequences(turns: tuple[tuple[str, str], ...]) -> set[str]:
    """Return the sequences of 5 characters, or of 2 where most characters are wide, as in Chinese, where 2 are a word."""
    return {sequence for _, text in turns for sequence in _grams(text)}


def _grams(text: str) -> Iterator[str]:
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    size = 2 if 2 * wide > len(text) else 5
    yield from (text[i : i + size] for i in range(max(1, len(text) - size + 1)))
