"""The slots of an attack's templates: a record's question spelt, worded and surrounded otherwise."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from expunge.data.records import Record
from expunge.data.texts import fillers, synonyms

SHORTEST_MISTYPED = 4
MISTYPED = 0.25
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
        "answer": record.answer,
        "filler": str(rng.choice(fillers())),
    }
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
    """Two neighbouring letters inside a word change places, in a quarter of the words of four letters or more and in one at least."""
    words = re.split(r"(\W+)", text)
    long = [i for i, word in enumerate(words) if len(word) >= SHORTEST_MISTYPED and word.isalpha()]
    if long:
        for i in rng.choice(long, max(1, round(len(long) * MISTYPED)), replace=False):
            at = int(rng.integers(1, len(words[i]) - 2))
            words[i] = words[i][:at] + words[i][at + 1] + words[i][at] + words[i][at + 2 :]
    return "".join(words)


def with_synonyms(text: str, table: Mapping[str, str] | None = None) -> str:
    """Every word or phrase of the table by its synonym, with a capital where it had one; the longest phrase wins."""
    table = synonyms() if table is None else table
    phrases = sorted(table, key=len, reverse=True)

    def other(found: re.Match) -> str:
        said = table[found[0].lower()]
        return said[0].upper() + said[1:] if found[0][0].isupper() else said

    return re.sub(rf"\b({'|'.join(map(re.escape, phrases))})\b", other, text, flags=re.IGNORECASE)
