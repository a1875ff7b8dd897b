"""Neighbour utility: utility on the retain records nearest to the forget set, where unlearning does most harm."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import regex
from scipy.stats import hmean
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics.pairwise import cosine_similarity

from expunge.data.records import Record
from expunge.data.scripts import UNSPACED
from expunge.metrics.leak import pieces
from expunge.metrics.likelihood import utility_truth_ratio
from expunge.metrics.statistics import Summary, combined_means_ci

Row = dict[str, Any]

_UNSPACED = regex.compile(f"(?V1){UNSPACED}")
_WORD = regex.compile(rf"(?V1)[[\p{{L}}\p{{M}}\p{{N}}_]--{UNSPACED}]+")


def neighbours(forget: Sequence[Record], retain: Sequence[Record], at_most: int) -> list[Record]:
    """Return the retain records nearest to any forget record, the nearest first.

    Records that share names, places and numbers are near: the measure is the cosine of tf-idf vectors (Salton and Buckley, 1988) of the
    words that do not begin in lower case, in questions and answers. With all words, questions in the same wording about other people
    would come first; they count only where all text is in lower case. Hidden states would differ between the original, the unlearned
    model and the control; words do not.

    Args:
        forget: the forget set.
        retain: records held out of training.
        at_most: how many to return.
    """
    records = [*forget, *retain]
    analyzer = _names if any(map(_names, records)) else _words
    if not any(map(analyzer, records)):
        return list(retain[:at_most])
    vectors = TfidfVectorizer(analyzer=analyzer).fit(records)
    nearness = cosine_similarity(vectors.transform(retain), vectors.transform(forget)).max(1)
    return [retain[i] for i in np.argsort(-nearness, kind="stable")[:at_most]]


def neighbour_utility(rows: Sequence[Row], near: Collection[str]) -> Summary:
    """Return the harmonic mean of mean probability, ROUGE-L recall and max(0, 1 - truth ratio), like TOFU's model utility.

    The truth ratio is left out if a record has none.

    Args:
        rows: of the retain set, from `expunge.auditing.measure`.
        near: ids of the neighbours.

    Returns:
        A number from 0 to 1, with a bootstrap interval over records.

    Raises:
        ValueError: if no row is a neighbour's.
    """
    near_rows = [row for row in rows if row["id"] in near]
    columns = [[row[name] for row in near_rows] for name in ("probability", "rouge")]
    if all("truth_ratio" in row for row in near_rows):
        columns.append([utility_truth_ratio(row["truth_ratio"]) for row in near_rows])
    return combined_means_ci(columns, lambda means: hmean(means, axis=0))


def _names(record: Record) -> list[str]:
    """Return the words that do not begin in lower case, each once; in a script without case, all words."""
    return sorted({word.casefold() for word in _words(record) if not word[0].islower()})


def _words(record: Record) -> list[str]:
    """Return the words of a record as they are written, each once, and pairs of characters where no spaces separate words."""
    text = " ".join([*(turn.content for turn in record.turns), record.answer])
    return sorted({*_WORD.findall(text), *(piece for piece in pieces(text) if _UNSPACED.match(piece))})
