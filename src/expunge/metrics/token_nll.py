"""Token NLL of answers and perplexity of neutral texts, the retain metrics of every task."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from math import exp

import torch
from torch import Tensor, nn

from expunge.data.prompts import Batch, Encoded, PromptBuilder
from expunge.data.records import Record, paraphrased_record
from expunge.data.texts import fillers, general
from expunge.metrics.statistics import MetricValue
from expunge.models.blocks import context_length
from expunge.models.scores import Scores
from expunge.models.scoring import nll_in_batches, score

# exp overflows at 709.
HIGHEST_NLL = 700.0


def neutral_perplexity(model: nn.Module, builder: PromptBuilder, batch_size: int, advance: Callable[[int], None]) -> MetricValue:
    """Return exp of the mean token NLL over the neutral records; only comparable between models with the same tokenizer."""
    nll = token_nll(model, neutral_rows(model, builder), builder.pad, batch_size, advance)
    return MetricValue(exp(min(nll.value, HIGHEST_NLL)), nll.n)


def neutral_rows(model: nn.Module, builder: PromptBuilder) -> list[Encoded]:
    """Return the encoded neutral records; plain texts are scored from their second token on, and cut where the model's context ends.

    Only a context of a few hundred tokens is too short for one of them. A record whose prompt fills it is left out.
    """
    longest = context_length(model) or sys.maxsize
    rows = [builder.record(record) if record.turns else whole_text(builder, record.answer) for record in neutral_records()]
    return [replace(row, answer=row.answer[: longest - len(row.prompt)]) for row in rows if len(row.prompt) + row.unscored < longest]


@cache
def neutral_records() -> tuple[Record, ...]:
    """Return the shipped questions of general knowledge, their paraphrases and four paragraphs; no training uses them."""
    records = general()
    return (*records, *map(paraphrased_record, records), *(Record(f"filler-{i}", (), text) for i, text in enumerate(fillers(), 1)))


def record_nll(
    model: nn.Module, builder: PromptBuilder, records: Sequence[Record], batch_size: int, advance: Callable[[int], None]
) -> MetricValue:
    """Return `token_nll` of the records' answers."""
    return token_nll(model, [builder.record(record) for record in records], builder.pad, batch_size, advance)


def token_nll(model: nn.Module, rows: list[Encoded], pad: int, batch_size: int, advance: Callable[[int], None]) -> MetricValue:
    """Return the mean negative log-likelihood of a token, in nats, over all tokens of all answers (end of turn included)."""
    nll = summed_nll(model, rows, pad, batch_size, advance)
    return MetricValue(nll.double().sum().item() / sum(len(row.labels) for row in rows), len(rows))


@torch.no_grad()
def summed_nll(model: nn.Module, rows: list[Encoded], pad: int, batch_size: int, advance: Callable[[int], None]) -> Tensor:
    """Return the negative log-likelihood of each answer, (rows,), in nats summed over its tokens."""
    device = next(model.parameters()).device

    def scored(batch: Batch) -> Scores:
        scores = score(model, batch.to(device))
        advance(len(batch.input_ids))
        return scores

    return nll_in_batches(scored, rows, pad, batch_size)


def whole_text(builder: PromptBuilder, text: str) -> Encoded:
    """Encode a text: everything but the first token is scored, because nothing predicts the first token."""
    ids = builder.plain_text(text)
    return Encoded(ids[:1], ids[1:])
