"""KV cache of prompts: read prompts once, then score or decode any number of answers from there."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import Cache

from expunge.data.prompts import Batch, Encoded, collate
from expunge.models.blocks import check_length
from expunge.models.cache_check import CacheUse, cache_use
from expunge.models.forward_context import GateLogits, batch_context, collect_gate_logits, continuation_context, rows_of_gates
from expunge.models.head import frozen_head, head_inputs
from expunge.models.kv_cache import AnyCache, Recomputed, copied, rows_of, run_with_cache, select_rows, shortened_by_one
from expunge.models.prefix import from_last_prompt_token


@dataclass(frozen=True)
class PromptCache:
    """Prompts after their forward pass.

    An "output" below is the last hidden state, which the head reads, where the head is frozen; otherwise it is the logits.

    Attributes:
        batch: the prompts alone, padded on the left.
        last: (prompts, 1, hidden or vocab), the output at the last token of each prompt.
        head: the frozen head, see `expunge.models.head.frozen_head`, or None.
        gate_logits: of the prompts.
        use: how far the cache can be used.
    """

    batch: Batch
    last: Tensor
    head: nn.Linear | None
    gate_logits: GateLogits
    use: CacheUse
    _kv_cache: AnyCache

    def kv_cache(self) -> AnyCache:
        """Return a copy of the KV cache that can be extended; the copy shares the tensors of the prompts."""
        return copied(self._kv_cache)

    @property
    def has_sliding_window(self) -> bool:
        """Whether some block attends to a sliding window only."""
        return not isinstance(self._kv_cache, Recomputed) and any(self._kv_cache.is_sliding)

    def logits(self, outputs: Tensor) -> Tensor:
        """Return the logits of outputs."""
        return self.head(outputs) if self.head else outputs

    def gate_logits_of(self, rows: Tensor) -> GateLogits:
        """Return the gate logits of the prompts with these indices."""
        return rows_of_gates(self.gate_logits, rows)


@torch.no_grad()
def read_prompts(model: nn.Module, prompts: Sequence[tuple[int, ...]], pad: int) -> PromptCache:
    """Run prompts through a model.

    Args:
        model: a causal LM, with or without edits.
        prompts: token ids of each prompt.
        pad: padding token id.
    """
    check_length(model, max(map(len, prompts), default=0), "a prompt")
    head, use = frozen_head(model), cache_use(model)
    batch = collate([Encoded(prompt) for prompt in prompts], pad).to(next(model.parameters()).device)
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask, "position_ids": batch.position_ids}
    with collect_gate_logits() as gate_logits:
        last, cache = _forward(model, head, None, **inputs, logits_to_keep=1)
    return PromptCache(batch, last, head, gate_logits, use, Recomputed(batch) if use == CacheUse.NONE else cache)


@torch.no_grad()
def read_prompts_off_and_on(
    model: nn.Module,
    prompts: Sequence[tuple[int, ...]],
    pad: int,
    edit_off: Callable[[], AbstractContextManager],
    pooled_gate_logits: Callable[[], GateLogits],
) -> tuple[PromptCache, PromptCache]:
    """Run prompts through a model with an edit off and with it on; both share one pass over all but the last token of each prompt.

    Args:
        model: its active edits change no prompt token before the last one, and its pooled gates read nothing that an edit changes.
        prompts: token ids of each prompt.
        pad: padding token id.
        edit_off: a context manager in which the edit is off.
        pooled_gate_logits: returns the logits of the pooled gates of active edits from the last forward pass.

    Returns:
        The prompts as read without the edit, and as read with it.
    """
    with_edit = read_prompts(model, prompts, pad)
    shortened = shortened_by_one(with_edit.kv_cache()) if with_edit.use == CacheUse.SHARED else None
    if shortened is None:
        with edit_off():
            return read_prompts(model, prompts, pad), with_edit
    all_but_last = replace(with_edit, _kv_cache=shortened)
    pooled = pooled_gate_logits()
    with edit_off():
        without_edit = _read_last_token(model, all_but_last, {gate: pooled[gate] for gate in pooled_gate_logits()})
    return without_edit, _read_last_token(model, all_but_last, pooled)


def _read_last_token(model: nn.Module, all_but_last: PromptCache, known: GateLogits) -> PromptCache:
    """Run the last token of each prompt, the only one that is not in the KV cache yet."""
    batch, head, cache = all_but_last.batch, all_but_last.head, cast(Cache, all_but_last.kv_cache())
    last_token = from_last_prompt_token(batch)
    inputs = {"input_ids": last_token.input_ids, "attention_mask": batch.attention_mask, "position_ids": batch.position_ids[:, -1:]}
    with batch_context(last_token, known), collect_gate_logits() as gate_logits:
        last, cache = _forward(model, head, cache, **inputs)
    return replace(all_but_last, last=last, gate_logits={**known, **gate_logits}, _kv_cache=cache)


def repeat_prompts(prompts: PromptCache, times: int) -> PromptCache:
    """Return every prompt `times` times, its copies next to each other, to decode several answers to each at once."""
    rows, cache = torch.arange(len(prompts.batch.input_ids), device=prompts.last.device).repeat_interleave(times), prompts.kv_cache()
    select_rows(cache, rows)
    return replace(
        prompts, batch=rows_of(prompts.batch, rows), last=prompts.last[rows], gate_logits=prompts.gate_logits_of(rows), _kv_cache=cache
    )


@torch.no_grad()
def reopen_prompts(model: nn.Module, prompts: PromptCache, rows: Tensor, gate_logits: GateLogits) -> PromptCache:
    """Read some prompts again with other gate logits, to begin their answers anew after an answer opened a gate.

    Args:
        model: the one that read the prompts.
        prompts: of which some are read again.
        rows: (batch,), indices of these prompts.
        gate_logits: of these prompts from now on, for every gate; no gate is computed again.
    """
    batch = rows_of(prompts.batch, rows)
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask, "position_ids": batch.position_ids}
    with batch_context(batch, gate_logits):
        last, cache = _forward(model, prompts.head, None, **inputs, logits_to_keep=1)
    cache = Recomputed(batch, gate_logits) if prompts.use == CacheUse.NONE else cache
    return replace(prompts, batch=batch, last=last, gate_logits=gate_logits, _kv_cache=cache)


@torch.no_grad()
def extend_prompts(model: nn.Module, prompts: PromptCache, rows: Tensor, continuations: Batch) -> tuple[Tensor, PromptCache]:
    """Append given tokens to prompts.

    Args:
        model: the one that read the prompts.
        prompts: to extend.
        rows: (batch,), index of the prompt that each row continues.
        continuations: the tokens, padded on the right.

    Returns:
        The outputs at these tokens, (batch, tokens, hidden or vocab), and the extended prompts.
    """
    cache, mask = prompts.kv_cache(), torch.cat((prompts.batch.attention_mask[rows], continuations.attention_mask), dim=1)
    select_rows(cache, rows)
    # Padding repeats the last position of its row. Counting on, the padding of a long prompt could exceed the context.
    positions = (mask.cumsum(-1) - 1)[:, -continuations.input_ids.shape[1] :]
    check_length(model, int(positions.max()) + 1)
    outputs, gate_logits = forward_continuation(
        model, prompts.head, prompts.gate_logits_of(rows), cache, continuations.input_ids, mask, positions
    )
    last = outputs[torch.arange(len(rows)), continuations.attention_mask.sum(-1) - 1][:, None]
    ids = torch.cat((prompts.batch.input_ids[rows], continuations.input_ids), dim=1)
    batch = Batch(ids, mask, ids.shape[1])
    return outputs, replace(prompts, batch=batch, last=last, gate_logits=gate_logits, _kv_cache=cache)


@torch.no_grad()
def forward_continuation(
    model: nn.Module, head: nn.Linear | None, gate_logits: GateLogits, cache: AnyCache, ids: Tensor, mask: Tensor, positions: Tensor
) -> tuple[Tensor, GateLogits]:
    """Run more tokens after prompts, and return the outputs at each of them, (batch, tokens, hidden or vocab), and the gate logits.

    The logit of a gate that reads the answer rises when the answer opens it.

    Args:
        model: the one that read the prompts.
        head: of the cached prompts.
        gate_logits: of each row, up to these tokens.
        cache: KV cache of these rows up to the tokens; the forward pass extends it.
        ids: (batch, tokens).
        mask: (batch, prompt and all tokens after it).
        positions: (batch, tokens).
    """
    if isinstance(cache, Recomputed):
        cache.extend(ids, mask)
        inputs = {"input_ids": cache.batch.input_ids, "attention_mask": mask, "position_ids": cache.batch.position_ids}
        with batch_context(cache.batch, cache.known), collect_gate_logits() as raised:
            outputs = _forward(model, head, None, **inputs)[0][:, -ids.shape[1] :]
        return outputs, {**gate_logits, **raised}
    with continuation_context(gate_logits), collect_gate_logits() as raised:
        outputs = _forward(model, head, cache, input_ids=ids, attention_mask=mask, position_ids=positions)[0]
    return outputs, {**gate_logits, **raised}


def _forward(model: nn.Module, head: nn.Linear | None, cache: Cache | None, **inputs: Any) -> tuple[Tensor, Any]:
    """Return the outputs and the KV cache."""
    with head_inputs(model, head) if head else nullcontext([]) as states:
        output, cache = run_with_cache(model, cache, **inputs)
    return states[0] if head else output.logits, cache
