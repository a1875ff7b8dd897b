"""Prompts that a model has read, once: answers are scored and given from there, as often as wanted."""

import copy
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache

from expunge.data.prompts import Batch, Encoded, collate
from expunge.models.forward_context import GateLogits, batch_context, collect_gate_logits, continuation_context
from expunge.models.head import frozen_head, head_inputs
from expunge.models.prefix import from_last_prompt_token


@dataclass(frozen=True)
class PromptCache:
    """Prompts after their forward pass.

    Attributes:
        batch: the prompts alone, padded on the left.
        last: (prompts, 1, hidden), what the head would read at the last token; without a head (prompts, 1, vocab), the logits.
        head: frozen, see `expunge.models.head.frozen_head`.
        gates: what gates said of the prompts.
    """

    batch: Batch
    last: Tensor
    head: nn.Linear | None
    gates: GateLogits
    _cache: Cache

    def cache(self) -> Cache:
        """Keys and values of the prompts, to be extended: the tensors are shared, what holds them is not."""
        cache = copy.copy(self._cache)
        cache.layers = [copy.copy(layer) for layer in cache.layers]
        return cache

    @property
    def slides(self) -> bool:
        """Whether a block looks back over a window of places, not over all of them."""
        return any(self._cache.is_sliding)

    def logits(self, last: Tensor) -> Tensor:
        """The logits of what `last` and `forward_continuation` give."""
        return self.head(last) if self.head else last


@torch.no_grad()
def read_prompts(model: nn.Module, prompts: Sequence[tuple[int, ...]], pad: int) -> PromptCache:
    """Read prompts.

    Args:
        model: a causal LM, with or without edits.
        prompts: token ids of each.
        pad: padding token id.
    """
    head = frozen_head(model)
    batch = collate([Encoded(prompt) for prompt in prompts], pad).to(next(model.parameters()).device)
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask, "position_ids": batch.position_ids}
    with collect_gate_logits() as gates:
        last, cache = _forward(model, head, **inputs, logits_to_keep=1)
    return PromptCache(batch, last, head, gates, cache)


@torch.no_grad()
def read_prompts_off_and_on(
    model: nn.Module,
    prompts: Sequence[tuple[int, ...]],
    pad: int,
    off: Callable[[], AbstractContextManager],
    pooled: Callable[[], GateLogits],
) -> tuple[PromptCache, PromptCache]:
    """Read prompts with an edit off and with it on: all but the last token of each is computed once, for both.

    Args:
        model: whose active edits act on no prompt token before the last one, and whose pooled gates read what no edit changes.
        prompts: token ids of each.
        pad: padding token id.
        off: within this context the edit is off.
        pooled: what pooled gates of active edits said in the last forward.

    Returns:
        The prompts as the model without the edit reads them, and as the one with it.
    """
    asked = read_prompts(model, prompts, pad)
    try:
        cropped = asked.cache()
        cropped.crop(-1)
    except (RuntimeError, ValueError):
        # A sliding window has let go of what would come back into view.
        with off():
            return read_prompts(model, prompts, pad), asked
    body = replace(asked, _cache=cropped)
    said = pooled()
    with off():
        without = _ask_last(model, body, {gate: said[gate] for gate in pooled()})
    return without, _ask_last(model, body, said)


def _ask_last(model: nn.Module, body: PromptCache, said: GateLogits) -> PromptCache:
    """The prompts whose last token the cache does not hold yet."""
    last_token, cache, mask = from_last_prompt_token(body.batch), body.cache(), body.batch.attention_mask
    inputs = {"input_ids": last_token.input_ids, "attention_mask": mask, "position_ids": body.batch.position_ids[:, -1:]}
    with batch_context(last_token, said), collect_gate_logits() as gates:
        last, cache = _forward(model, body.head, **inputs, past_key_values=cache)
    return PromptCache(body.batch, last, body.head, {**said, **gates}, cache)


def repeat_prompts(asked: PromptCache, times: int) -> PromptCache:
    """Every prompt several times, one copy after the other: for several answers to each at once."""
    rows, cache = torch.arange(len(asked.batch.input_ids), device=asked.last.device).repeat_interleave(times), asked.cache()
    cache.batch_select_indices(rows)
    batch = Batch(asked.batch.input_ids[rows], asked.batch.attention_mask[rows], asked.batch.prompt_length)
    gates = {gate: logits[rows.to(logits.device)] for gate, logits in asked.gates.items()}
    return PromptCache(batch, asked.last[rows], asked.head, gates, cache)


@torch.no_grad()
def extend_prompts(model: nn.Module, asked: PromptCache, rows: Tensor, more: Batch) -> tuple[Tensor, PromptCache]:
    """Go on with prompts by tokens of one's own.

    Args:
        model: the one that was asked.
        asked: the prompts.
        rows: (batch,), which prompt each row goes on with.
        more: what follows, padded on the right.

    Returns:
        As `PromptCache.last` at each of the tokens, and the prompts with them.
    """
    cache, mask = asked.cache(), torch.cat((asked.batch.attention_mask[rows], more.attention_mask), dim=1)
    cache.batch_select_indices(rows)
    # Padding stays at its row's last position: a long prompt beside a long answer of another row must not leave the context.
    positions = (mask.cumsum(-1) - 1)[:, -more.input_ids.shape[1] :]
    states = forward_continuation(model, asked, rows, cache, more.input_ids, mask, positions)
    last = states[torch.arange(len(rows)), more.attention_mask.sum(-1) - 1][:, None]
    ids = torch.cat((asked.batch.input_ids[rows], more.input_ids), dim=1)
    gates = {gate: logits[rows.to(logits.device)] for gate, logits in asked.gates.items()}
    return states, PromptCache(Batch(ids, mask, ids.shape[1]), last, asked.head, gates, cache)


@torch.no_grad()
def forward_continuation(
    model: nn.Module, asked: PromptCache, rows: Tensor, cache: Cache, ids: Tensor, mask: Tensor, positions: Tensor
) -> Tensor:
    """Read more tokens after the prompts: as `PromptCache.last`, at each of them.

    Args:
        model: the one that was asked.
        asked: the prompts.
        rows: (batch,), which prompt each row goes on with.
        cache: of these rows, up to the tokens; they are added to it.
        ids: (batch, tokens).
        mask: (batch, prompt and all tokens after it).
        positions: (batch, tokens).
    """
    with continuation_context({gate: logits[rows.to(logits.device)] for gate, logits in asked.gates.items()}):
        return _forward(model, asked.head, input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache)[0]


def _forward(model: nn.Module, head: nn.Linear | None, **inputs: Any) -> tuple[Tensor, Cache]:
    """The last hidden states, or without a head to take them to the logits, and the cache."""
    with head_inputs(model, head) if head else nullcontext([]) as states:
        output = model(**inputs, use_cache=True)
    return states[0] if head else output.logits, output.past_key_values
