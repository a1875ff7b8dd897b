"""Fit the part of a gate that reads the answer: it opens when a fact to forget begins to come out, whatever the question was."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from expunge.config import EditSection
from expunge.data.prompts import PromptBuilder
from expunge.errors import ExpungeError
from expunge.gating.answer_rows import AnswerRows
from expunge.gating.calibrate import Threshold, calibrate
from expunge.gating.state_store import StateStore
from expunge.models.hidden_states import prompt_states

RATE_SHARE = 1 / 3
"""Of the false-positive rate of the part that reads prompts, the rate of the part that reads answers."""
TOKENS_OF_FACT = 9
"""Tokens of an answer from its first distinctive one on that have a map each: the gate opens this many tokens late at most."""
SHRINKAGE = 0.1
"""Share of the identity in the covariance of the states, scaled to their mean variance."""
ROWS_AT_ONCE = 256


@dataclass(frozen=True)
class FittedAnswerGate:
    """The part of a gate that reads answers.

    Attributes:
        part: its linear maps, whose scores are comparable with the threshold of the prompts; None: the gate itself reads on.
        threshold: its own; of linear maps from before the scores were shifted to the threshold of the prompts.
        coverage: share of the forget answers that it opens for; of linear maps with every name.
        margin: of a gate that reads on, how far its threshold is above that of the prompts.
    """

    part: nn.Linear | None
    threshold: Threshold
    coverage: float
    margin: float = 0.0


def fit_answer_gate(
    model: nn.Module,
    builder: PromptBuilder,
    rows: AnswerRows,
    settings: EditSection,
    block: int,
    threshold: float,
    advance: Callable[[int], None] = lambda prompts: None,
) -> FittedAnswerGate:
    """Compute the part of a gate that reads answers, and calibrate it.

    Each fact has a linear map for each of its first tokens (`fact_maps`); the largest score of all maps and tokens counts.

    Args:
        model: before the edit.
        builder: of its tokenizer.
        rows: to compute the maps from, and to calibrate on.
        settings: of the edit.
        block: that it reads.
        threshold: of the part that reads prompts.
        advance: called with the number of rows read.

    Raises:
        ExpungeError: no forget answer has a distinctive token.
    """
    if not rows.forget:
        raise ExpungeError("no forget answer has a word that a gate could recognise: leave out edit.answer_gate")
    states = prompt_states(
        model,
        [(*row.prompt, *row.answer) for row in rows.all],
        [block],
        builder.pad,
        advance=advance,
        transform=StateStore(settings),
        starts=[len(row.prompt) - 1 for row in rows.all],
        share_beginning=True,
    )[block]
    forget, negatives, calibration = rows.split(states)
    # The state at the last prompt token is the first; that of a token is read after it.
    revealed = [of_row[1 + start :] for of_row, start in zip(forget, rows.starts, strict=True)]
    part = fact_maps(revealed, rows.facts, negatives)
    on_forget, on_others = (torch.tensor([part(of_row.float()).amax().item() for of_row in of_set]) for of_set in (forget, calibration))
    chosen = calibrate(on_others, on_forget, settings.false_positive_rate * RATE_SHARE)
    part.bias.add_(threshold - chosen.logit)
    opened = int((on_forget >= chosen.logit).sum())
    return FittedAnswerGate(part, chosen, opened / (len(forget) + rows.without_start))


def fact_maps(revealed: Sequence[Tensor], facts: Sequence[int], negatives: Sequence[Tensor]) -> nn.Linear:
    """Return a linear map for each of the first tokens of each fact, in closed form.

    A map is the direction of Fisher's linear discriminant, from the mean state of answers that should not open the gate to the mean state
    of the fact's variants at that token. Its largest score on the former is 0, so that no map is more easily reached than another.

    Args:
        revealed: for each forget answer the states from its first distinctive token on, (tokens, hidden).
        facts: for each of them the fact that it tells.
        negatives: states of answers that should not open the gate, (tokens, hidden) each.
    """
    mean, whiten = _whitening(negatives)
    centres = list[Tensor]()
    for fact in dict.fromkeys(facts):
        variants = [states for states, of in zip(revealed, facts, strict=True) if of == fact]
        for token in range(TOKENS_OF_FACT):
            reached = [states[token].float() for states in variants if len(states) > token]
            # Where most variants have ended, the others would stand for the fact.
            if reached and 2 * len(reached) >= len(variants):
                centres.append(torch.stack(reached).mean(0))
    weight = normalize((torch.stack(centres) - mean) @ whiten) @ whiten.T
    part = nn.Linear(weight.shape[1], weight.shape[0]).requires_grad_(False)
    part.weight.copy_(weight)
    part.bias.zero_()
    part.bias.copy_(-torch.stack([part(states).amax(0) for states in _chunks(negatives)]).amax(0))
    return part


def _whitening(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the mean of the states of all tokens, and the matrix that makes their shrunk covariance the identity."""
    count = sum(len(states) for states in rows)
    mean = sum((states.double().sum(0) for states in _chunks(rows)), torch.zeros(rows[0].shape[1], dtype=torch.double)) / count
    covariance = torch.zeros(len(mean), len(mean), dtype=torch.double)
    for states in _chunks(rows):
        centred = states.double() - mean
        covariance += centred.T @ centred / count
    shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * covariance.diagonal().mean() * torch.eye(len(mean), dtype=torch.double)
    return mean.float(), torch.linalg.cholesky(torch.linalg.inv(shrunk)).float()


def _chunks(rows: Sequence[Tensor]) -> Iterator[Tensor]:
    for start in range(0, len(rows), ROWS_AT_ONCE):
        yield torch.cat(tuple(rows[start : start + ROWS_AT_ONCE])).float()
