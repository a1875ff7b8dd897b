"""How much of a forget module is subtracted: a line search under a utility budget, on a validation split."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp

import torch
from torch import nn

from expunge.config import ReleaseSection
from expunge.data.prompts import PromptBuilder
from expunge.data.records import Record
from expunge.metrics.token_nll import HIGHEST_NLL, token_nll
from expunge.models.loading import best_dtype

BATCH_SIZE = 16


@dataclass(frozen=True)
class Levels:
    """Where a model stands on the validation split.

    Attributes:
        forget_nll: of the forget data, nats a token.
        retain_perplexity, neutral_perplexity: of what is to be kept, and of what the original says to neutral instructions.
    """

    forget_nll: float
    retain_perplexity: float
    neutral_perplexity: float

    def drop(self, before: "Levels") -> float:
        """By how much the worse of the two perplexities has risen, as a share of what it was; below 0 where both fell."""
        kept = self.retain_perplexity / before.retain_perplexity, self.neutral_perplexity / before.neutral_perplexity
        return max(kept) - 1


@dataclass(frozen=True)
class Tried:
    """A lambda_f and what it led to; drop: see `Levels.drop`, against the model before any round."""

    value: float
    levels: Levels
    drop: float


def levels(
    model: nn.Module, builder: PromptBuilder, forget: Sequence[Record], retain: Sequence[Record], neutral: Sequence[Record]
) -> Levels:
    """Measure a model on validation records."""

    def nothing(_rows: int) -> None: ...

    rows = [[builder.record(record) for record in records] for records in (forget, retain, neutral)]
    # In the dtype that the machine is fast at, as modules are trained: a search compares what is measured alike.
    with torch.autocast(next(model.parameters()).device.type, best_dtype(), enabled=best_dtype() != torch.float32):
        nll, *kept = (token_nll(model, own, builder.pad, BATCH_SIZE, nothing).value for own in rows)
    return Levels(nll, *(exp(min(one, HIGHEST_NLL)) for one in kept))


def search_lambda(measure: Callable[[float], Levels], before: Levels, allowed: float, settings: ReleaseSection) -> list[Tried]:
    """Try values of lambda_f: doubled while they fit, then halving the gap between one that fits and one that does not.

    Args:
        measure: the levels of the model that a value leads to.
        before: those before any round.
        allowed: how far `Levels.drop` may go.
        settings: `lambda_max`, `lambda_evaluations` and `target_forget_nll` are read.

    Returns:
        All that was tried, in order; `best` chooses.
    """
    tried: list[Tried] = []
    fits, too_much, value = 0.0, None, min(1.0, settings.lambda_max)
    while len(tried) < settings.lambda_evaluations:
        found = measure(value)
        tried.append(Tried(value, found, found.drop(before)))
        if tried[-1].drop <= allowed:
            fits = value
            if value == settings.lambda_max or reaches(found, settings.target_forget_nll):
                break
        else:
            too_much = value
        value = min(2 * fits, settings.lambda_max) if too_much is None else (fits + too_much) / 2
    return tried


def best(tried: Sequence[Tried], allowed: float, start: float) -> Tried | None:
    """Of the values that fit into the budget the one that forgets most; none if none fits and forgets anything.

    Args:
        tried: by the line search.
        allowed: how far `Levels.drop` may go.
        start: `Levels.forget_nll` before the round.
    """
    fits = [one for one in tried if one.drop <= allowed and one.levels.forget_nll > start]
    return max(fits, key=lambda one: one.levels.forget_nll, default=None)


def reaches(found: Levels, target: float | None) -> bool:
    """Whether the forget data is as unlikely as was asked for."""
    return target is not None and found.forget_nll >= target
