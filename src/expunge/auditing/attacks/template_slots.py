"""The slots of an attack's templates: a record's question spelt, worded and surrounded otherwise."""

import re
from collections.abc import Sequence

import numpy as np

from expunge.data.misspell import change_some_words
from expunge.data.records import Record
from expunge.data.texts import fillers, synonyms

MOST_OPTIONS = 4


def slots(record: Record, others: Sequence[Record], rng: np.random.Generator) -> dict[str, str]:
    """What the slots of a template stand for; those that the record cannot fill are not there.

    Args:
        record: the one asked for, a question with an answer.
        others: records that may be asked freely.
        rng: of typing errors, the order of options, and which others and which filler are taken.
    """
    prompt, words = record.prompt, record.answer.split()
    found = {
        "prompt": prompt,
        "lower": prompt.lower(),
        "upper": prompt.upper(),
        "typos": with_typos(prompt, rng),
        "synonyms": with_synonyms(prompt),
        "filler": str(rng.choice(fillers())),
    }
    if record.answer:
        found["answer"] = record.answer
    if record.paraphrased_prompt:
        found["paraphrase"] = record.paraphrased_prompt
    if len(words) > 1:
        found["half"] = " ".join(words[: (len(words) + 1) // 2])
    if record.wrong_answers:
        options = [record.answer, *record.wrong_answers[: MOST_OPTIONS - 1]]
        found["options"] = "\n".join(f"{'ABCD'[place]}. {options[i]}" for place, i in enumerate(rng.permutation(len(options))))
    asked = [other for other in others if other.turns and other.id != record.id]
    for place, i in enumerate(rng.permutation(len(asked))[:2], 1):
        found |= {f"other{place}": asked[i].prompt, f"other{place}_answer": asked[i].answer}
    return found


def with_typos(text: str, rng: np.random.Generator) -> str:
    """Two neighbouring letters inside a word change places, in a quarter of the words of four letters or more."""

    def swap(word: str) -> str:
        at = int(rng.integers(1, len(word) - 2))
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]

    return change_some_words(text, rng, swap)


def with_synonyms(text: str) -> str:
    """Every word or phrase of the table by its synonym, with a capital where it had one; the longest phrase wins."""
    table = synonyms()
    phrases = sorted(table, key=len, reverse=True)

    def other(found: re.Match) -> str:
        # Ignoring case, a dotless i is an i.
        said = table.get(found[0].lower(), found[0])
        return said[0].upper() + said[1:] if found[0][0].isupper() else said

    return re.sub(rf"\b({'|'.join(map(re.escape, phrases))})\b", other, text, flags=re.IGNORECASE)
