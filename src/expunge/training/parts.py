"""Score a training batch in parts of similar length: the same numbers from less padding."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from expunge.data.prompts import Batch
from expunge.models.scores import Scores

PART_COST = 64
"""What one more forward and backward pass costs, in tokens: measured with a model of 135M parameters on two cores."""

Scored = tuple[Scores, Tensor | None]
"""Scores of a batch, and the gate logits of its prompts, (gates, batch); None without a gate."""


def score_in_parts(batch: Batch, score_part: Callable[[Batch], Scored]) -> Scored:
    """Score a batch in the parts that cost least, and return the scores of the whole.

    Args:
        batch: of any lengths.
        score_part: scores some of its rows; returns at most the fields that there are without logits and hidden states.
    """
    answers = batch.attention_mask[:, batch.prompt_length :].sum(-1).tolist()
    parts = cheapest_parts(answers)
    if len(parts) == 1:
        return score_part(batch)
    scored = [score_part(take_rows(batch, rows)) for rows in parts]
    place = torch.tensor([row for rows in parts for row in rows], device=batch.input_ids.device).argsort()
    logits = [part for _, part in scored if part is not None]
    return _joined([scores for scores, _ in scored], place), torch.cat(logits, dim=1)[:, place] if logits else None


def cheapest_parts(answers: Sequence[int]) -> list[list[int]]:
    """Return the rows of each part, shortest answers first; every row of a part is padded to its longest answer."""
    order = sorted(range(len(answers)), key=lambda row: answers[row])
    # best[n]: the lowest cost, in tokens, of the n shortest rows, and where their last part starts.
    best = [(0, 0)]
    for end in range(1, len(order) + 1):
        longest = answers[order[end - 1]]
        cost, start = min((best[start][0] + (end - start) * (1 + longest), start) for start in range(end))
        best.append((cost + PART_COST, start))
    parts, end = [], len(order)
    while end:
        start = best[end][1]
        parts.append(order[start:end])
        end = start
    return parts[::-1]


def take_rows(batch: Batch, rows: Sequence[int]) -> Batch:
    """Return some rows of a batch, without the padding that only the others need."""
    chosen = torch.tensor(rows, device=batch.input_ids.device)
    mask = batch.attention_mask[chosen]
    prompt, answer = (int(part.sum(-1).max()) for part in (mask[:, : batch.prompt_length], mask[:, batch.prompt_length :]))
    columns = slice(batch.prompt_length - prompt, batch.prompt_length + answer)
    return replace(
        batch,
        input_ids=batch.input_ids[chosen, columns],
        attention_mask=mask[:, columns],
        prompt_length=prompt,
        record_ids=tuple(batch.record_ids[row] for row in rows) if batch.record_ids else (),
        unscored=tuple(batch.unscored[row] for row in rows) if batch.unscored else (),
    )


def _joined(parts: Sequence[Scores], place: Tensor) -> Scores:
    """Return the scores of all rows. `place`: (batch,), where each row is among those of the parts."""
    nll, tokens = (torch.cat([getattr(part, name) for part in parts])[place] for name in ("nll", "tokens"))
    by_row = [row for part in parts for row in part.token_nll.split(part.tokens.tolist())]
    return Scores(nll, tokens, torch.cat([by_row[i] for i in place.tolist()]))
