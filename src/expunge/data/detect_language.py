"""Detect the language of records, to choose the shipped texts of a run.

By the library `py3langid`: 4.6 MB with its model, no dependency but numpy, no network, maintained, and right for every single record of
the benchmarks. A count of function words of our own would do for ten languages, but it could not name an eleventh, and `lingua` takes
a hundred megabytes.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from py3langid.langid import MODEL_FILE, LanguageIdentifier

from expunge.data.languages import AUTO, CODES, ENGLISH, Language, language
from expunge.data.records import Record

MIN_CONFIDENCE = 0.5
"""Below it a record does not count: a sum, a line of code or a name alone is of no language."""
MOST_RECORDS, MOST_CHARS = 500, 1000
_WRITTEN_AS = {"yue": "zh", "wuu": "zh", "arz": "ar", "ary": "ar"}
"""In a short sentence Cantonese and Wu look like Mandarin, Egyptian and Moroccan like standard Arabic."""
_ENGLISH_NAMES = {"it": "Italian", "nl": "Dutch", "uk": "Ukrainian", "ko": "Korean", "he": "Hebrew", "el": "Greek", "tr": "Turkish"}


@dataclass(frozen=True)
class Detected:
    """The language that a run uses, and why.

    Attributes:
        language: whose texts are used.
        rule: how it was chosen, as run.json records it.
        unknown: whether most records are in a language without shipped texts, so that English ones are used.
    """

    language: Language
    rule: str
    unknown: bool = False

    @property
    def remark(self) -> str:
        """What a user should know about the choice."""
        if self.unknown:
            return f"The language of the shipped texts is English: {self.rule}. Set data.language to choose another one."
        return f"The shipped refusals, neutral instructions and prompt variants are in {self.language.name} ({self.rule})."


def choose_language(setting: str, records: Sequence[Record]) -> Detected:
    """Return the language of a setting, or for `auto` that of most records.

    Records in several languages count one each: the texts are those of the language that most of them are in. Names are swapped for names
    in the same script, record by record.

    Args:
        setting: `data.language` of the recipe.
        records: the forget set.
    """
    if setting != AUTO:
        return Detected(language(setting), "data.language")
    some = records[:: max(1, -(-len(records) // MOST_RECORDS))]
    codes = Counter(code for code in (_code(record) for record in some) if code is not None)
    if not codes:
        return Detected(ENGLISH, "none was recognised, so English")
    code, count = codes.most_common(1)[0]
    if code in CODES:
        return Detected(language(code), f"detected in {count} of {len(some)} records")
    name = _ENGLISH_NAMES.get(code, f"the language with the code {code}")
    return Detected(ENGLISH, f"{name} was detected in {count} of {len(some)} records and has no shipped texts, so English", unknown=True)


def _code(record: Record) -> str | None:
    text = " ".join([*(turn.content for turn in record.turns if turn.role != "system"), record.answer])
    confidence: dict[str, float] = {}
    for found, share in _identifier().rank(text[:MOST_CHARS]):
        code = _WRITTEN_AS.get(found, found)
        confidence[code] = confidence.get(code, 0.0) + share
    likeliest = max(confidence, key=confidence.__getitem__)
    return likeliest if confidence[likeliest] >= MIN_CONFIDENCE else None


@cache
def _identifier() -> LanguageIdentifier:
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
