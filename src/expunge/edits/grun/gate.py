"""What a gate is: a linear map or a small network over hidden states, and how its token scores become one logit a prompt."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, relu

from expunge.config import Gate, GatePool

MLP_WIDTHS = (256, 64)
Parts = Mapping[str, nn.Linear]
"""Of the gate at one block, see `new_gate`."""
TOP = {"top2": 2, "top3": 3}


def new_gate(kind: Gate, pool: GatePool, width: int, **place: Any) -> Parts:
    """The parts of a fresh gate at one block, by the names they have in an adapter.

    Args:
        kind: `linear` (d -> 1) or `mlp` (d -> 256 -> 64 -> 1, ReLU).
        pool: with `attention` the gate has a second linear map, which says how much each token counts.
        width: the hidden size, d.
        place: device and dtype.
    """
    widths = (width, *MLP_WIDTHS, 1) if kind == "mlp" else (width, 1)
    names = ("grun_gate_in", "grun_gate_mid", "grun_gate") if kind == "mlp" else ("grun_gate",)
    parts = {name: nn.Linear(widths[i], widths[i + 1], **place) for i, name in enumerate(names)}
    return {**parts, "grun_gate_query": nn.Linear(width, 1, **place)} if pool == "attention" else parts


def gate_scores(parts: Parts, states: Tensor) -> Tensor:
    """What a gate says of each state: (..., hidden) -> (...) logits."""
    for name in ("grun_gate_in", "grun_gate_mid"):
        if name in parts:
            states = relu(parts[name](states))
    return parts["grun_gate"](states).squeeze(-1)


def as_read(states: Tensor, normed: bool) -> Tensor:
    """Hidden states as a pooled gate reads them: (..., hidden), fp32, each with mean 0 and variance 1 if they are normed."""
    return layer_norm(states.float(), states.shape[-1:]) if normed else states.float()


def pooled(parts: Parts, pool: GatePool, states: Tensor, real: Tensor, softness: float = 0.0) -> Tensor:
    """One logit a prompt from the scores of its tokens.

    Args:
        parts: of the gate.
        pool: `max`: the largest. `top2`, `top3`: the mean of the largest two or three. `attention`:
            their mean, weighted by the softmax of a second linear map.
        states: (batch, tokens, hidden), or those of the real tokens alone, (real tokens, hidden), as `as_read` gives them.
        real: (batch, tokens) bool; at least one token a row.
        softness: of `max`: with s above 0, s log sum exp(score / s).

    Returns:
        (batch,).
    """

    def spread(said: Tensor) -> Tensor:
        if states.ndim == 3:
            return said.masked_fill(~real, -torch.inf)
        return said.new_full(real.shape, -torch.inf).masked_scatter(real, said)

    scores = spread(gate_scores(parts, states))
    match pool:
        case "max":
            return softness * (scores / softness).logsumexp(-1) if softness else scores.amax(-1)
        case "attention":
            weight = spread(parts["grun_gate_query"](states).squeeze(-1)).softmax(-1)
            return (weight * scores.masked_fill(~real, 0.0)).sum(-1)
        case _:
            largest = scores.topk(min(TOP[pool], scores.shape[1]), dim=-1).values
            there = largest.isfinite()
            return largest.where(there, 0.0).sum(-1) / there.sum(-1)
