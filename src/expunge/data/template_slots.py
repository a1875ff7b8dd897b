"""Fill the slots of prompt templates: a record's question in other spelling and wording, examples, answer options, filler text."""

import re
from collections.abc import Sequence

import numpy as np

from expunge.data.misspell import change_some_words
from expunge.data.records import Record
from expunge.data.texts import fillers, synonyms

MAX_OPTIONS = 4


def fill_slots(record: Record, others: Sequence[Record], rng: np.random.Generator) -> dict[str, str]:
    """Return the values of a template's slots: {slot: text}. Slots that the record cannot fill are left out.

    Args:
        record: a question with an answer.
        others: records that an attacker may use freely.
        rng: draws the typing errors, the order of the options, the filler text and the other records.
    """
    prompt, words = record.prompt, record.answer.split()
    values = {
        "prompt": prompt,
        "lower": prompt.lower(),
        "upper": prompt.upper(),
        "typos": with_typos(prompt, rng),
        "synonyms": with_synonyms(prompt),
        "filler": str(rng.choice(fillers())),
    }
    if record.answer:
        values["answer"] = record.answer
    if record.paraphrased_prompt:
        values["paraphrase"] = record.paraphrased_prompt
    if len(words) > 1:
        values["half"] = " ".join(words[: (len(words) + 1) // 2])
    if record.wrong_answers:
        options = [record.answer, *record.wrong_answers[: MAX_OPTIONS - 1]]
        values["options"] = "\n".join(f"{'ABCD'[place]}. {options[i]}" for place, i in enumerate(rng.permutation(len(options))))
    questions = [other for other in others if other.turns and other.id != record.id]
    for place, i in enumerate(rng.permutation(len(questions))[:2], 1):
        values |= {f"other{place}": questions[i].prompt, f"other{place}_answer": questions[i].answer}
    return values


def with_typos(text: str, rng: np.random.Generator) -> str:
    """Swap two neighbouring letters inside a word, in a quarter of the words of four letters or more."""

    def swap(word: str) -> str:
        at = int(rng.integers(1, len(word) - 2))
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]

    return change_some_words(text, rng, swap)


def with_synonyms(text: str) -> str:
    """Replace every word or phrase that the shipped table has a synonym for; capitals stay, and the longest phrase wins."""
    table = synonyms()
    phrases = sorted(table, key=len, reverse=True)

    def replace(match: re.Match) -> str:
        # Ignoring case, a dotless i matches an i, but the table does not have it.
        synonym = table.get(match[0].lower(), match[0])
        return synonym[0].upper() + synonym[1:] if match[0][0].isupper() else synonym

    return re.sub(rf"\b({'|'.join(map(re.escape, phrases))})\b", replace, text, flags=re.IGNORECASE)
