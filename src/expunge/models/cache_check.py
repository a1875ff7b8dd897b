"""Find out by a small sample how far a model's cache can be used: a wrong one would give wrong scores without any error."""

import logging
from enum import StrEnum
from math import inf
from typing import cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import Cache

from expunge.data.prompts import Encoded, collate
from expunge.errors import InputError
from expunge.models.forward_context import GateLogits, batch_context, collect_gate_logits, continuation_context
from expunge.models.kv_cache import copied, is_recurrent, run_with_cache, select_rows

log = logging.getLogger(__name__)

PROMPTS = ((3, 4, 5, 6, 7), (8, 9))
CHOSEN = (1, 0, 1)
ANSWERS = ((5, 6), (10, 3, 4), (7, 8, 9))
"""The sample: prompts, and answers to those of them that `CHOSEN` names."""
PAD = 0
ROUNDING, COARSE = {torch.float32: 1e-3, torch.float64: 1e-3}, 0.1
"""By how much logits may differ, as a share of their norm; `COARSE` in 16 bits, where a token may even choose another expert."""
BROKEN = 3.0
"""How many times more the logits of padded rows must differ before the model is refused."""


class CacheUse(StrEnum):
    """How far a model's cache can be used."""

    SHARED = "several answers continue the cache of one prompt"
    STEPS = "the cache is continued token by token"
    NONE = "the cache is not used"


def cache_use(model: nn.Module) -> CacheUse:
    """Return how far the cache of a model can be used; it is tried on a small sample, once for each model.

    Args:
        model: a causal LM in evaluation mode, with or without PEFT edits.

    Raises:
        InputError: padding changes what the model computes, so that no batch of it is right.
    """
    if model not in _uses:
        _uses[model] = _tried(model)
        if _uses[model] == CacheUse.NONE:
            log.warning("The cache of %s cannot be used here: every token is computed again, which takes longer.", type(model).__name__)
    return _uses[model]


_uses: "WeakKeyDictionary[nn.Module, CacheUse]" = WeakKeyDictionary()


@torch.no_grad()
def _tried(model: nn.Module) -> CacheUse:
    rows = [Encoded(PROMPTS[prompt], answer) for prompt, answer in zip(CHOSEN, ANSWERS, strict=True)]
    alone = [logits for row in rows for logits in _whole(model, [row])]
    tolerance = ROUNDING.get(alone[0].dtype, COARSE)
    if _difference(_whole(model, rows), alone) > BROKEN * tolerance:
        raise InputError(f"{type(model).__name__}: padding changes what this model computes; models of this family are not supported")
    for use, size in ((CacheUse.SHARED, max(map(len, ANSWERS))), (CacheUse.STEPS, 1)):
        try:
            if _difference(_continued(model, rows, size), alone) <= tolerance:
                return use
        # The code of many families fails in many ways on a cache that is used as it was not written for.
        except Exception as error:
            log.debug("The cache of %s: %s", type(model).__name__, error)
    return CacheUse.NONE


def _whole(model: nn.Module, rows: list[Encoded]) -> list[Tensor]:
    """Return each row's logits at its answer tokens, (tokens, vocab), from one forward pass without a cache."""
    batch = collate(rows, PAD).to(next(model.parameters()).device)
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask, "position_ids": batch.position_ids}
    with batch_context(batch):
        logits = model(**inputs, use_cache=False).logits[:, batch.prompt_length :]
    return [of_row[: len(row.answer)] for of_row, row in zip(logits, rows, strict=True)]


def _continued(model: nn.Module, rows: list[Encoded], size: int) -> list[Tensor]:
    """Return the same logits from the cache of the prompts, which the rows continue by `size` tokens at a time; none if it is recurrent."""
    device = next(model.parameters()).device
    prompts = collate([Encoded(prompt) for prompt in PROMPTS], PAD).to(device)
    answers = collate([Encoded((), row.answer) for row in rows], PAD).to(device)
    inputs = {"input_ids": prompts.input_ids, "attention_mask": prompts.attention_mask, "position_ids": prompts.position_ids}
    with collect_gate_logits() as collected:
        cache = run_with_cache(model, None, **inputs)[1]
    if not isinstance(cache, Cache) or (size > 1 and is_recurrent(cache)):
        return []
    chosen, past = torch.tensor(CHOSEN, device=device), prompts.prompt_length
    mask = torch.cat((prompts.attention_mask[chosen], answers.attention_mask), dim=1)
    positions, logits = mask.cumsum(-1) - 1, []
    # Twice: the first continuation must leave the cache of the prompts as it was.
    for _ in range(2):
        logits, continued = [], cast(Cache, copied(cache))
        gates: GateLogits = {gate: value[chosen.to(value.device)] for gate, value in collected.items()}
        select_rows(continued, chosen)
        for start in range(0, answers.input_ids.shape[1], size):
            stop = start + size
            inputs = {"input_ids": answers.input_ids[:, start:stop], "position_ids": positions[:, past + start : past + stop]}
            with continuation_context(gates), collect_gate_logits() as raised:
                logits.append(run_with_cache(model, continued, **inputs, attention_mask=mask[:, : past + stop])[0].logits)
            gates = {**gates, **raised}
    return [of_row[: len(row.answer)] for of_row, row in zip(torch.cat(logits, dim=1), rows, strict=True)]


def _difference(logits: list[Tensor], expected: list[Tensor]) -> float:
    """Return the norm of the difference as a share of the norm of `expected` around its mean, which no probability depends on."""
    if not logits:
        return inf
    one, other = (torch.cat(part).float() for part in (logits, expected))
    one, other = (part - part.mean(-1, keepdim=True) for part in (one, other))
    return ((one - other).norm() / other.norm()).item()
