"""The gate of a GRUN edit: a linear map or a small network that scores hidden states, and the pooling of token scores to one logit."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, relu

from expunge.config import Gate, GatePool

MLP_WIDTHS = (256, 64)
GateParts = Mapping[str, nn.Linear]
"""The linear maps of a gate at one block, by name; see `new_gate`."""
TOP_K = {"top2": 2, "top3": 3}
ANSWER_GATE = "grun_answer_gate"
"""The part of a gate that reads the answer."""


def new_gate(kind: Gate, pool: GatePool, width: int, answer_maps: int = 0, **place: Any) -> GateParts:
    """Return the parts of a freshly initialised gate at one block, by the names that an adapter stores them under.

    Args:
        kind: `linear` (d -> 1) or `mlp` (d -> 256 -> 64 -> 1, ReLU).
        pool: with `attention` the gate has a second linear map, which weights the tokens.
        width: the hidden size, d.
        answer_maps: of the part that reads the answer, see `answer_scores`; 0: the gate does not read it.
        place: device and dtype.
    """
    widths = (width, *MLP_WIDTHS, 1) if kind == "mlp" else (width, 1)
    names = ("grun_gate_in", "grun_gate_mid", "grun_gate") if kind == "mlp" else ("grun_gate",)
    parts = {name: nn.Linear(widths[i], widths[i + 1], **place) for i, name in enumerate(names)}
    if pool == "attention":
        parts["grun_gate_query"] = nn.Linear(width, 1, **place)
    return {**parts, ANSWER_GATE: nn.Linear(width, answer_maps, **place)} if answer_maps else parts


def token_scores(parts: GateParts, states: Tensor) -> Tensor:
    """Return a gate's score of each state: (..., hidden) -> (...) logits."""
    for name in ("grun_gate_in", "grun_gate_mid"):
        if name in parts:
            states = relu(parts[name](states))
    return parts["grun_gate"](states).squeeze(-1)


def answer_scores(parts: GateParts, states: Tensor) -> Tensor:
    """Return the score of each state by the part of a gate that reads the answer, its maps' largest: (..., hidden) -> (...) logits."""
    return parts[ANSWER_GATE](states).amax(-1)


def gate_input(states: Tensor, normalise: bool) -> Tensor:
    """Return hidden states as a pooled gate reads them: (..., hidden), fp32, with mean 0 and variance 1 each if `normalise`."""
    return layer_norm(states.float(), states.shape[-1:]) if normalise else states.float()


def pooled_logits(parts: GateParts, pool: GatePool, states: Tensor, real: Tensor, softness: float = 0.0) -> Tensor:
    """Return one logit for each prompt, pooled from the scores of its tokens.

    Args:
        parts: of the gate.
        pool: `max`: the largest score. `top2`, `top3`: the mean of the two or three largest. `attention`: the mean,
            weighted by the softmax of a second linear map.
        states: (batch, tokens, hidden), or only the real tokens, (real tokens, hidden), as `gate_input` returns them.
        real: (batch, tokens) bool; at least one token in each row.
        softness: of `max`: with s above 0, s log sum exp(score / s).

    Returns:
        (batch,).
    """

    def padded(scores: Tensor) -> Tensor:
        if states.ndim == 3:
            return scores.masked_fill(~real, -torch.inf)
        return scores.new_full(real.shape, -torch.inf).masked_scatter(real, scores)

    scores = padded(token_scores(parts, states))
    match pool:
        case "max":
            return softness * (scores / softness).logsumexp(-1) if softness else scores.amax(-1)
        case "attention":
            weight = padded(parts["grun_gate_query"](states).squeeze(-1)).softmax(-1)
            return (weight * scores.masked_fill(~real, 0.0)).sum(-1)
        case _:
            return mean_of_finite(scores.topk(min(TOP_K[pool], scores.shape[1]), dim=-1).values)


def mean_of_finite(largest: Tensor) -> Tensor:
    """Return the mean of the largest scores, without the minus infinity that stands for a score that a short prompt lacks."""
    finite = largest.isfinite()
    return largest.where(finite, 0.0).sum(-1) / finite.sum(-1)
