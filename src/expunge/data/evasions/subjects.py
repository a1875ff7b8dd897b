"""What a question asks about: the full name, the words to disguise, and a description from the other facts of a set."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from expunge.data.evasions.full_names import FullName, full_names
from expunge.data.find_names import find_names
from expunge.data.languages import ENGLISH, Language
from expunge.data.records import Record
from expunge.data.scripts import PIECE

LEAST_LETTERS = 4
"""Letters of a word that is disguised in a question without names."""
THIS_PERSON = "this person"


@dataclass(frozen=True)
class Subject:
    """A question with what its evasions need.

    Attributes:
        record: the question.
        name: the full name in it; None: it has none that can be shortened.
        words: texts in the question to disguise: the full name, or else all names, or else all long words.
        others: further records of the same name.
    """

    record: Record
    name: FullName | None
    words: tuple[str, ...]
    others: tuple[Record, ...]

    @cached_property
    def description(self) -> str | None:
        """The person in words that name nobody: by another fact of the set, the one that shares fewest words with the answer.

        None without a name or another fact.
        """
        if self.name is None or not self.others:
            return None
        own = _words(self.record.answer)
        fact = min(self.others, key=lambda other: len(own & _words(other.answer))).answer
        parts = [part for part in (self.name.text, self.name.first, self.name.last) if part]
        hidden = re.sub("|".join(rf"(?<!\w){re.escape(part)}(?!\w)" for part in parts), THIS_PERSON, fact)
        return f'the person of whom this is true: "{hidden}"'


def subjects(records: Sequence[Record], language: Language = ENGLISH, background: Sequence[Record] = ()) -> list[Subject]:
    """Return each record with what its evasions need; plain texts are left out.

    Args:
        records: questions with answers, from which names and further facts are found.
        language: of most records.
        background: retain records, whose words are no names of these records.
    """
    questions = [record for record in records if record.turns]
    names = find_names(questions, language, background)
    full = full_names(questions, names, language)
    of_name: dict[str, list[Record]] = {}
    for record in questions:
        if record.id in full:
            of_name.setdefault(full[record.id].text, []).append(record)
    found = []
    for record in questions:
        name = full.get(record.id)
        others = [] if name is None else [other for other in of_name[name.text] if other.id != record.id and other.answer]
        some_names = [word for word in names.keys(record) if not word[0].isdigit()]
        words = [name.text] if name else some_names or _long_words(record.prompt)
        found.append(Subject(record, name, tuple(words), tuple(others)))
    return found


def _long_words(text: str) -> Iterable[str]:
    return dict.fromkeys(
        m[0] for m in PIECE.finditer(text) if m.lastgroup == "run" or (m.lastgroup == "word" and len(m[0]) >= LEAST_LETTERS)
    )


def _words(text: str) -> set[str]:
    return {match[0].casefold() for match in PIECE.finditer(text)}
