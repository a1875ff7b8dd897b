"""Perplexity on texts that have nothing to do with what was forgotten: the first number to move when a model breaks."""

from collections.abc import Callable

import numpy as np
from torch import nn

from expunge.audit.statistics import Summary, of_means_ci
from expunge.data.prompts import PromptBuilder
from expunge.tasks.likelihood import HIGHEST_NLL, neutral_rows, summed_nll


def neutral_perplexity_ci(
    model: nn.Module, builder: PromptBuilder, batch_size: int = 16, advance: Callable[[int], None] = lambda rows: None
) -> Summary:
    """`expunge.tasks.likelihood.neutral_perplexity` with a bootstrap interval over its records, long ones drawn with all their tokens.

    Args:
        model: in evaluation mode.
        builder: of its tokenizer; perplexities of different tokenizers are not comparable.
        batch_size: records at once.
        advance: called with the number of records done.
    """
    rows = neutral_rows(builder)
    nll = summed_nll(model, rows, builder.pad, batch_size, advance).tolist()
    return of_means_ci([nll, [float(len(row.answer)) for row in rows]], lambda means: np.exp(np.minimum(means[0] / means[1], HIGHEST_NLL)))
