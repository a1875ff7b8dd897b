"""Find the full name that a question asks about, and divide it into first and last name."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import regex

from expunge.data.find_names import QUOTED, SENTENCE_START, CapitalNames, Names
from expunge.data.languages import Language
from expunge.data.records import Record, Turn
from expunge.data.scripts import PIECE, script_of

PARTICLES = "af|al|av|bin|bint|da|dal|de|del|della|den|der|des|di|do|dos|du|el|ibn|la|le|ten|ter|van|vom|von|zu|zum|zur"
"""Lower-case words inside a name; they belong to the last name."""
TITLES = frozenset({"Dr", "Lady", "Lord", "Miss", "Mr", "Mrs", "Ms", "Professor", "Sir"})
_CAPITAL = r"\p{Lu}[\w'’-]*\w"
_GRAPHEME, _RUN = regex.compile(r"\X"), regex.compile(r"[\p{Han}\p{Hangul}]+")


@dataclass(frozen=True)
class FullName:
    """A name of at least two parts, as it stands in a question.

    Attributes:
        text: the whole name.
        first: the given name.
        last: the family name with its particles; empty in Chinese and Korean, where nobody is called by the family name alone.
        spaced: whether a space separates the parts.
    """

    text: str
    first: str
    last: str
    spaced: bool = True

    @property
    def initial(self) -> str:
        """The first letter of the given name with a full stop; empty in scripts that write no initials."""
        return f"{_GRAPHEME.findall(self.first)[0]}." if self.spaced else ""

    def joined(self, first: str, last: str) -> str:
        """Return another first and last name in the order of this name."""
        return f"{first} {last}" if self.spaced else f"{last}{first}"


def full_names(records: Sequence[Record], names: Names, language: Language) -> dict[str, FullName]:
    """Return the name that each record asks about: {record id: name}; records without a name of two parts are left out.

    That is the record's `entity` where the question holds it. Otherwise it is, of the names with several words that the question holds, the
    one that most records hold. Quoted titles are no names of people.

    Args:
        records: questions with answers.
        names: of these records, see `expunge.data.find_names`.
        language: of most records, which tells how Chinese characters are divided.
    """
    mentions = {record.id: _mentions(record, names) for record in records}
    frequency = Counter(text for of_record in mentions.values() for text in set(of_record))
    found: dict[str, FullName] = {}
    for record in records:
        of_record = sorted(mentions[record.id], key=lambda text: -frequency[text])
        divided = (divide(text, language) for text in (_entity(record), *of_record) if text)
        if name := next((name for name in divided if name is not None), None):
            found[record.id] = name
    return found


def divide(text: str, language: Language) -> FullName | None:
    """Divide a name into first and last name; None if it has one part only, or nothing tells where a part ends.

    Without spaces only the usual forms are divided: Chinese and Korean names of three characters, Japanese names of four.
    """
    words = text.split()
    if len(words) > 1:
        at = len(words) - 1
        while at > 1 and re.fullmatch(PARTICLES, words[at - 1]):
            at -= 1
        return FullName(text, words[0], " ".join(words[at:]))
    if not _RUN.fullmatch(text):
        return None
    if language.code == "ja":
        return FullName(text, text[2:], text[:2], spaced=False) if len(text) == 4 else None
    return FullName(text, text[1:], "", spaced=False) if len(text) == 3 and script_of(text) in ("han", "hangul") else None


def replace_name(record: Record, name: FullName, other: str) -> Record:
    """Return a record with another text in place of a full name, in every turn; answers stay as they are."""
    return replace(record, turns=tuple(Turn(turn.role, turn.content.replace(name.text, other)) for turn in record.turns))


def _entity(record: Record) -> str | None:
    """Return the record's `entity` as its question writes it."""
    found = re.search(re.escape(record.entity), record.prompt, re.IGNORECASE) if record.entity else None
    return found and found[0]


def _mentions(record: Record, names: Names) -> list[str]:
    """Return the names of several words in a question, in their order, and the runs of characters that are names."""
    prompt = record.prompt
    keys = [word for word in names.keys(record) if not word[0].isdigit()]
    if not keys:
        return []
    key = "|".join(map(re.escape, sorted(keys, key=len, reverse=True)))
    # Basil is a word too, but not beside a name and with a capital. In German that would be every noun.
    word = rf"{key}|{_CAPITAL}" if isinstance(names, CapitalNames) else key
    quoted = {place for match in QUOTED.finditer(prompt) for place in range(*match.span(1))}
    several = regex.finditer(rf"(?<!\w)(?:{word})(?:(?: (?:{PARTICLES}))* (?:{word}))+(?!\w)", prompt)
    found = [_without_start(match, keys) for match in several if match.start() not in quoted]
    runs = [piece for piece in keys if (match := PIECE.match(piece)) and match.lastgroup == "run" and piece in prompt]
    return [*(text for text in found if " " in text and regex.search(rf"(?<!\w)(?:{key})(?!\w)", text)), *runs]


def _without_start(match: regex.Match[str], keys: Sequence[str]) -> str:
    """Return a mention without titles, and without the first word of a sentence that is no name."""
    words = match[0].split()
    if words[0] not in keys and SENTENCE_START.search(match.string[: match.start()]):
        words = words[1:]
    while words and words[0] in TITLES:
        words = words[1:]
    return " ".join(words)
