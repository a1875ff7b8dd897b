"""Pool a gate's token scores on, from the prompt over the tokens of its answer, with a memory of fixed size for each row."""

import torch
from torch import Tensor

from expunge.config import GatePool
from expunge.edits.grun.gate import TOP_K, GateParts, mean_of_finite, token_scores


def pooled_memory(parts: GateParts, pool: GatePool, states: Tensor, real: Tensor) -> Tensor:
    """Return what `read_on` must know of the tokens of each prompt.

    Args:
        parts: of the gate.
        pool: how it pools, see `expunge.edits.grun.gate.pooled_logits`.
        states: (batch, tokens, hidden), as `gate_input` returns them.
        real: (batch, tokens) bool; at least one token in each row.

    Returns:
        (batch, k). The k largest scores, with `max` and `top2` and `top3`. With `attention` the largest weight logit w, the sum of
        exp(weight logit - w), and the same sum with each term times its score.
    """
    scores = token_scores(parts, states)
    if pool != "attention":
        count = TOP_K.get(pool, 1)
        largest = scores.masked_fill(~real, -torch.inf).topk(min(count, scores.shape[1]), dim=-1).values
        return torch.nn.functional.pad(largest, (0, count - largest.shape[1]), value=-torch.inf)
    logits = parts["grun_gate_query"](states).squeeze(-1).masked_fill(~real, -torch.inf)
    highest = logits.amax(-1, keepdim=True)
    weights = (logits - highest).exp()
    return torch.stack((highest[:, 0], weights.sum(-1), (weights * scores.masked_fill(~real, 0.0)).sum(-1)), dim=-1)


def read_on(parts: GateParts, pool: GatePool, states: Tensor, answer: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logit of each prompt with its answer up to each token, and the memory after the last token.

    At a row's last token the logit is that of `pooled_logits` for the prompt and the answer as one text.

    Args:
        parts: of the gate.
        pool: how it pools.
        states: (batch, tokens, hidden), as `gate_input` returns them.
        answer: (batch, tokens) bool, which of the tokens are read.
        memory: (batch, k), of the tokens before these.

    Returns:
        (batch, tokens), and (batch, k).
    """
    scores = token_scores(parts, states)
    weights = parts["grun_gate_query"](states).squeeze(-1) if pool == "attention" else scores
    logits = [_logit(pool, memory)] * states.shape[1]
    # Prompts come first: in a pass over prompts and answers most columns need no step.
    for token in answer.any(0).nonzero()[:, 0].tolist():
        following = _with_token(pool, memory, scores[:, token], weights[:, token])
        memory = torch.where(answer[:, token, None], following, memory)
        logits[token:] = [_logit(pool, memory)] * (len(logits) - token)
    return torch.stack(logits, dim=1), memory


def _with_token(pool: GatePool, memory: Tensor, score: Tensor, weight_logit: Tensor) -> Tensor:
    if pool != "attention":
        return torch.cat((memory, score[:, None]), dim=-1).topk(memory.shape[1], dim=-1).values
    highest, total, weighted = memory.unbind(-1)
    now = torch.maximum(highest, weight_logit)
    before, here = (highest - now).exp(), (weight_logit - now).exp()
    return torch.stack((now, total * before + here, weighted * before + here * score), dim=-1)


def _logit(pool: GatePool, memory: Tensor) -> Tensor:
    return memory[:, 2] / memory[:, 1] if pool == "attention" else mean_of_finite(memory)
