"""Utility where unlearning does the most harm: on the retain records that are nearest to what was forgotten."""

import re
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from scipy.stats import hmean
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics.pairwise import cosine_similarity

from expunge.data.records import Record
from expunge.metrics.likelihood import utility_truth_ratio
from expunge.metrics.statistics import Summary, of_means_ci

Row = dict[str, Any]


def neighbours(forget: Sequence[Record], retain: Sequence[Record], at_most: int) -> list[Record]:
    """The retain records nearest to any forget record, the nearest first.

    Near is what shares names, places and numbers: the cosine of tf-idf vectors (Salton and Buckley, 1988) of the words in questions
    and answers that do not begin in lower case. Over all words, questions in the same wording about others would come first. Hidden
    states would be another measure in each model; words are the same for the original, the unlearned model and the control.

    Args:
        forget: what was to be forgotten.
        retain: records held out of training.
        at_most: how many are wanted.
    """
    vectors = TfidfVectorizer(analyzer=_names).fit([*forget, *retain])
    nearness = cosine_similarity(vectors.transform(retain), vectors.transform(forget)).max(1)
    return [retain[i] for i in np.argsort(-nearness, kind="stable")[:at_most]]


def neighbour_utility(rows: Sequence[Row], near: Collection[str]) -> Summary:
    """Harmonic mean of mean probability, ROUGE-L recall and, where all have one, max(0, 1 - truth ratio), as TOFU's model utility.

    Args:
        rows: of the retain set, as `expunge.auditing.measure` gives them.
        near: ids of the neighbours.

    Returns:
        From 0 to 1, with a bootstrap interval over records.

    Raises:
        ValueError: if no row is a neighbour's.
    """
    own = [row for row in rows if row["id"] in near]
    columns = [[row[name] for row in own] for name in ("probability", "rouge")]
    if all("truth_ratio" in row for row in own):
        columns.append([utility_truth_ratio(row["truth_ratio"]) for row in own])
    return of_means_ci(columns, lambda means: hmean(means, axis=0))


def _names(record: Record) -> list[str]:
    """Words that do not begin in lower case, each once; scripts without case have no others."""
    said = re.findall(r"\w+", " ".join([*(turn.content for turn in record.turns), record.answer]))
    return sorted({word.casefold() for word in said if not word[0].islower()})
