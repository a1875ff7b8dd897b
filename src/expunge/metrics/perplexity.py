"""Perplexity of neutral texts, which are unrelated to the forget set: the first number to change when a model breaks."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import nn

from expunge.data.prompts import PromptBuilder
from expunge.metrics.statistics import Summary, combined_means_ci
from expunge.metrics.token_nll import HIGHEST_NLL, neutral_rows, summed_nll

Row = dict[str, Any]


def perplexity_rows(
    model: nn.Module, builder: PromptBuilder, batch_size: int = 16, advance: Callable[[int], None] = lambda rows: None
) -> list[Row]:
    """Return `nll` (summed, nats) and `tokens` of each neutral record, see `expunge.metrics.token_nll.neutral_records`.

    Args:
        model: in evaluation mode.
        builder: of its tokenizer; perplexities of different tokenizers are not comparable.
        batch_size: records at once.
        advance: called with the number of records done.
    """
    rows = neutral_rows(model, builder)
    nll = summed_nll(model, rows, builder.pad, batch_size, advance).tolist()
    return [{"nll": summed, "tokens": len(row.labels)} for summed, row in zip(nll, rows, strict=True)]


def perplexity(rows: Sequence[Row]) -> Summary:
    """Return exp of the mean token NLL, with a bootstrap interval over records (a record is drawn with all its tokens)."""
    return combined_means_ci([_column(rows, "nll"), _column(rows, "tokens")], lambda means: _exp(means[0] / means[1]))


def perplexity_rise(rows: Sequence[Row], before: Sequence[Row]) -> Summary:
    """Return the relative rise of perplexity on the same records, with a bootstrap interval that resamples both models alike."""
    columns = [_column(rows, "nll"), _column(before, "nll"), _column(rows, "tokens")]
    return combined_means_ci(columns, lambda means: _exp((means[0] - means[1]) / means[2]) - 1)


def _exp(nll: np.ndarray) -> np.ndarray:
    return np.exp(np.minimum(nll, HIGHEST_NLL))


def _column(rows: Sequence[Row], name: str) -> list[float]:
    return [float(row[name]) for row in rows]
