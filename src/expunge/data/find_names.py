"""Find the names in questions: by capitals where they tell names, else by the `entity` field and by words that only the forget set has."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import regex

from expunge.data.languages import ENGLISH, Language
from expunge.data.records import Record
from expunge.data.scripts import CHARACTER, PIECE, new_characters, pairs

# A letter and its marks: a decomposed é is an e and an accent.
_LETTERS = r"(?:[^\W\d_][\u0300-\u036f]*)+"
WORD = re.compile(rf"{_LETTERS}(?:(?:-|['’](?!s\b)){_LETTERS})*|\d{{2,}}")
QUOTED = re.compile(r"[\"“'‘](?=[A-Z])([^\"”]*?)[\"”'’](?!\w)")
SENTENCE_START = re.compile(r"(^|[.!?:]\s+)[\"“'‘(]*$")
CAPITALS_SHARE = 0.5
"""Share of the questions with a capital letter from which capitals tell names; below, people write in lower case."""


class Names(ABC):
    """The names of records, and how to replace them in a text."""

    @abstractmethod
    def keys(self, record: Record) -> dict[str, bool]:
        """Return the words to replace in a record's questions, each with whether another such word follows (a first name)."""

    @abstractmethod
    def pieces(self, text: str) -> list[str]:
        """Return the pieces of a text that may be keys, in their order."""

    @abstractmethod
    def swap(self, text: str, replacements: dict[str, str]) -> str:
        """Return a text with other names."""

    @abstractmethod
    def certain(self, keys: dict[str, bool]) -> bool:
        """Return whether a record's keys are surely one name or several, so that some of them may stay."""


def find_names(records: Sequence[Record], language: Language = ENGLISH, background: Sequence[Record] = ()) -> Names:
    """Return the names in the questions of records.

    Capitals tell names in most languages with capital letters. They do not in German, nor where most questions are in lower case. There,
    and in scripts without capitals, a name is what the record's `entity` names; without one, it is every word that stands neither in
    `background` nor in the language's shipped texts. In German it must begin with a capital, too.

    Args:
        records: questions with answers.
        language: of most records.
        background: retain records.
    """
    questions = [text for record in records for text in user_texts(record)]
    with_capitals = sum(any(char.isupper() for char in text) for text in questions)
    if with_capitals >= CAPITALS_SHARE * len(questions) and not language.capital_nouns:
        return CapitalNames(records, language)
    return RareNames(language, background)


class CapitalNames(Names):
    """Words with a capital inside a sentence that never appear in lower case, and quoted titles; acronyms are not names."""

    def __init__(self, records: Sequence[Record], language: Language):
        texts = [text for record in records for text in record_texts(record)]
        shipped = (*language.instructions, *language.eval_instructions)
        lower = {word for text in (*texts, *shipped) for word in WORD.findall(text) if word.islower()}
        inside = {match[0] for text in texts for match in WORD.finditer(text) if not SENTENCE_START.search(text[: match.start()])}
        self.names = {word for word in inside if word[0].isupper() and len(word) > 1 and not word.isupper() and word.lower() not in lower}

    def keys(self, record: Record) -> dict[str, bool]:
        """Return the words to replace: names, words in quoted titles, and numbers."""
        keys: dict[str, bool] = {}
        for text in user_texts(record):
            titles = {place for match in QUOTED.finditer(text) for place in range(*match.span(1))}
            chosen = [
                w for w in WORD.finditer(text) if w[0][0].isdigit() or w[0] in self.names or (w[0][0].isupper() and w.start() in titles)
            ]
            starts = {w.start() for w in chosen}
            keys |= {w[0]: w.end() + 1 in starts for w in reversed(chosen)}
        return keys

    def pieces(self, text: str) -> list[str]:
        """Return words with their hyphens and apostrophes, and numbers."""
        return WORD.findall(text)

    def swap(self, text: str, replacements: dict[str, str]) -> str:
        """Return a text with other names, word by word."""
        return WORD.sub(lambda match: replacements.get(match[0], match[0]), text)

    def certain(self, keys: dict[str, bool]) -> bool:
        """Return True: a capital tells a name."""
        return True


class RareNames(Names):
    """What a record's `entity` names, or else the words and runs of characters that no other text has."""

    def __init__(self, language: Language, background: Sequence[Record]):
        texts = [*language.all_texts, *(text for record in background for text in record_texts(record))]
        pieces = [match for text in texts for match in PIECE.finditer(text)]
        self.known = {match[0].casefold() for match in pieces if match.lastgroup == "word"}
        self.known_pairs = {pair for match in pieces if match.lastgroup == "run" for pair in pairs(match[0])}
        self.needs_capital = language.capital_nouns

    def keys(self, record: Record) -> dict[str, bool]:
        """Return the words and parts of runs to replace, and numbers."""
        of_entity = {match[0].casefold() for match in PIECE.finditer(record.entity or "")}
        texts = user_texts(record)
        entity = [[(at, piece) for at, piece in self._candidates(text) if piece.casefold() in of_entity] for text in texts]
        entity = [self._entity_in_runs(text, of_entity, found) for text, found in zip(texts, entity, strict=True)]
        by_entity = any(entity)
        keys: dict[str, bool] = {}
        for text, named in zip(texts, entity, strict=True):
            found = named if by_entity else [(at, piece) for at, piece in self._candidates(text) if self._is_rare(piece)]
            digits = [(match.start(), match[0]) for match in PIECE.finditer(text) if match.lastgroup == "digits"]
            starts = {at for at, _ in found}
            keys |= {piece: at + len(piece) + 1 in starts for at, piece in reversed(sorted([*found, *digits]))}
        return keys

    def pieces(self, text: str) -> list[str]:
        """Return words, runs and numbers."""
        return [match[0] for match in PIECE.finditer(text)]

    def swap(self, text: str, replacements: dict[str, str]) -> str:
        """Return a text with other names, word by word and inside runs."""
        if not replacements:
            return text
        runs = [key for key in replacements if _is_run(key)]
        inside = regex.compile("|".join(map(regex.escape, sorted(runs, key=len, reverse=True)))) if runs else None

        def other(match: regex.Match) -> str:
            if match.lastgroup == "run" and inside is not None:
                return inside.sub(lambda name: replacements[name[0]], match[0])
            return replacements.get(match[0], match[0])

        return PIECE.sub(other, text)

    def certain(self, keys: dict[str, bool]) -> bool:
        """Return whether the keys are few enough to be one name."""
        return sum(not key[0].isdigit() for key in keys) <= 3

    def _candidates(self, text: str) -> Iterator[tuple[int, str]]:
        """Yield the start and the text of each word, and of each part of a run whose characters stand in no known pair."""
        for match in PIECE.finditer(text):
            if match.lastgroup == "word" and not (self.needs_capital and SENTENCE_START.search(text[: match.start()])):
                yield match.start(), match[0]
            elif match.lastgroup == "run":
                # A single character is more often a part of the wording.
                yield from ((match.start() + at, part) for at, part in self._new_parts(match[0]) if len(CHARACTER.findall(part)) > 1)

    def _is_rare(self, piece: str) -> bool:
        if _is_run(piece):
            return True
        return len(piece) > 1 and piece.casefold() not in self.known and (piece[0].isupper() or not self.needs_capital)

    def _new_parts(self, run: str) -> Iterator[tuple[int, str]]:
        start = None
        for match, is_new in zip(CHARACTER.finditer(run), new_characters(run, self.known_pairs), strict=True):
            if is_new and start is None:
                start = match.start()
            elif not is_new and start is not None:
                yield start, run[start : match.start()]
                start = None
        if start is not None:
            yield start, run[start:]

    @staticmethod
    def _entity_in_runs(text: str, of_entity: set[str], found: list[tuple[int, str]]) -> list[tuple[int, str]]:
        names = sorted((name for name in of_entity if _is_run(name)), key=len, reverse=True)
        inside = [(match.start(), match[0]) for match in regex.finditer("|".join(map(regex.escape, names)), text)] if names else []
        return [*(place for place in found if not _is_run(place[1])), *inside]


def user_texts(record: Record) -> list[str]:
    """Return the messages of the user."""
    return [turn.content for turn in record.turns if turn.role == "user"]


def record_texts(record: Record) -> Iterator[str]:
    """Yield the messages, the answer and the paraphrased question."""
    yield from (turn.content for turn in record.turns)
    yield from (text for text in (record.answer, record.paraphrased_prompt) if text)


def _is_run(piece: str) -> bool:
    match = PIECE.match(piece)
    return match is not None and match.lastgroup == "run"
