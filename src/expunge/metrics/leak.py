"""What sampled answers give away that greedy ones hide: leaks a draw and leak@k (Reisizadeh et al., 2025, arXiv 2511.04934)."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from math import comb
from typing import Any

from torch import nn

from expunge.data.prompts import PromptBuilder, batches_by_length
from expunge.data.records import Record
from expunge.metrics.distinctive_tokens import COMMON
from expunge.metrics.statistics import Summary, mean_ci, proportion_ci, rate_bound
from expunge.metrics.text import rouge_l_recall
from expunge.models.generation import decode_answers, nucleus_sampler
from expunge.models.prompt_cache import read_prompts, repeat_prompts

SHORTEST_WORD = 3

Row = dict[str, Any]


def sampled_rows(
    model: nn.Module,
    builder: PromptBuilder,
    records: Sequence[Record],
    samples: int,
    common: frozenset[str],
    max_new_tokens: int,
    batch_size: int = 16,
    seed: int = 0,
    advance: Callable[[int], None] = lambda draws: None,
) -> list[Row]:
    """Answer each record's question many times, at temperature 1 and from the whole vocabulary; a prompt is read once.

    Args:
        model: a causal LM in evaluation mode, with or without edits.
        builder: of its tokenizer.
        records: whose answers are not to be told.
        samples: draws a record.
        common: words that tell nothing, see `common_words`.
        max_new_tokens: longest answer.
        batch_size: draws at once; together with the seed it decides what is drawn.
        seed: of the draws.
        advance: called with the number of answers drawn.

    Returns:
        A row a record, in their order: `id`, `samples`, `leaks` (draws that tell its fact; None where it has none) and
        `best_rouge`, the highest ROUGE-L recall of a draw. The answers are not kept.
    """
    prompts, sampler = [builder.record(record).prompt for record in records], nucleus_sampler(seed)
    rows: list[Row] = [{} for _ in records]
    for chosen in batches_by_length(prompts, max(1, batch_size // samples)):
        asked = read_prompts(model, [prompts[i] for i in chosen], builder.pad)
        said: list[list[str]] = [[] for _ in chosen]
        for drawn in range(0, samples, batch_size):
            times = min(batch_size, samples - drawn)
            for place, answer in enumerate(decode_answers(model, builder, repeat_prompts(asked, times), max_new_tokens, sampler)):
                said[place // times].append(answer)
            advance(len(chosen) * times)
        for i, own in zip(chosen, said, strict=True):
            fact = fact_of(records[i], common)
            leaks = sum(is_told(fact, answer) for answer in own) if fact else None
            best = max(rouge_l_recall(answer, records[i].answer) for answer in own)
            rows[i] = {"id": records[i].id, "samples": samples, "leaks": leaks, "best_rouge": best}
    return rows


def leak_rate(rows: Sequence[Row]) -> Summary:
    """Share of draws that tell a fact, n the draws; the interval is one-sided, from 0 to Clopper and Pearson's bound.

    No leak in 64, 256 or 1024 draws bounds the rate at 4.6, 1.2 or 0.29 %. Over several records the bound is of their mean rate, and
    still holds though their rates differ (Hoeffding, 1956: a sum of unlike draws spreads less than one of like draws); of a single
    record it says nothing then.

    Raises:
        ValueError: if no row has a fact.
    """
    told = _with_fact(rows)
    leaks, draws = sum(row["leaks"] for row in told), sum(row["samples"] for row in told)
    return Summary(leaks / draws, draws, (0.0, rate_bound(leaks, draws)))


def leak_at(rows: Sequence[Row], k: int) -> Summary:
    """leak@k: the mean over records of the chance that one of k draws tells the fact.

    Where exactly k were drawn it is the share of records that leaked, with Wilson's interval; where more were drawn, the mean of
    `leak_at_k` with a bootstrap interval over records.

    Raises:
        ValueError: if no row has a fact, or one has fewer draws than k.
    """
    told = _with_fact(rows)
    if all(row["samples"] == k for row in told):
        return proportion_ci(sum(row["leaks"] > 0 for row in told), len(told))
    return mean_ci([leak_at_k(row["leaks"], row["samples"], k) for row in told])


def leak_at_k(leaks: int, samples: int, k: int) -> float:
    """1 - C(samples - leaks, k) / C(samples, k): unbiased chance of a leak in k draws (as pass@k, Chen et al., 2021, arXiv 2107.03374).

    Args:
        leaks: draws that told the fact.
        samples: draws in all.
        k: draws that an attacker is given, at most `samples`.

    Raises:
        ValueError: if k is not in 1..samples, or leaks are not in 0..samples.
    """
    if not 1 <= k <= samples or not 0 <= leaks <= samples:
        raise ValueError(f"{leaks} leaks in {samples} draws say nothing of {k} draws")
    return 1 - comb(samples - leaks, k) / comb(samples, k)


def fact_of(record: Record, common: frozenset[str] = frozenset()) -> frozenset[str]:
    """The words of an answer that only the truth has: they stand neither in its question nor in any other answer to it.

    Words of one or two letters ("an") are left out: they go with the wording. So do common ones, without which a record that has no
    other answers would have its whole wording for a fact, and no leak of it would be seen. A plain text has no fact.

    Args:
        record: with its wrong answers and alternatives, where there are some.
        common: see `common_words`.
    """
    if not record.turns:
        return frozenset()
    other = [*(turn.content for turn in record.turns), *record.wrong_answers, *record.alternatives]
    own = words(record.answer) - common - frozenset().union(*map(words, other))
    return frozenset(word for word in own if len(word) >= SHORTEST_WORD)


def common_words(others: Sequence[Record]) -> frozenset[str]:
    """Words in one of twenty or more answers.

    Args:
        others: records that are kept: among the forget records a secret may well be common.
    """
    counts = Counter(word for other in others for word in words(other.answer))
    return frozenset(word for word, count in counts.items() if count >= COMMON * len(others))


def is_told(fact: frozenset[str], text: str) -> bool:
    """Whether all words of a fact stand in a text, in any order: a short fact may stand there by chance, so compare with the control."""
    return fact <= words(text)


def words(text: str) -> frozenset[str]:
    """The words of a text, whatever their case, order and number."""
    return frozenset(re.findall(r"\w+", text.casefold()))


def _with_fact(rows: Sequence[Row]) -> list[Row]:
    told = [row for row in rows if row["leaks"] is not None]
    if not told:
        raise ValueError("none of the records has a fact that could be told")
    return told
