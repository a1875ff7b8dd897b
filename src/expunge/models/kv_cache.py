"""Caches of transformers in one interface, whatever the family: run tokens with a cache, copy it, choose its rows.

Families with attention cache keys and values. Recurrent ones (Mamba) cache states that each forward pass overwrites, hybrid ones both.
"""

import copy
import inspect
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import Cache
from transformers.cache_utils import CacheLayerMixin, LinearAttentionCacheLayerMixin

from expunge.data.prompts import Batch
from expunge.models.forward_context import GateLogits, rows_of_gates

CACHE_NAMES = ("past_key_values", "cache_params")
"""The forward argument, and output field, that holds a model's cache. Mamba has the second name."""


@dataclass
class Recomputed:
    """In place of a cache, for a model without a usable one: all tokens so far, which every forward pass computes again.

    Attributes:
        batch: the prompts and the tokens after them.
        known: gate logits of the prompts; gates that have none here read the prompts and the tokens after them in every pass.
    """

    batch: Batch
    known: GateLogits = field(default_factory=dict)

    def extend(self, ids: Tensor, mask: Tensor) -> None:
        """Append tokens. `ids`: (batch, new tokens); `mask`: (batch, all tokens)."""
        self.batch = replace(self.batch, input_ids=torch.cat((self.batch.input_ids, ids), dim=1), attention_mask=mask)


AnyCache = Cache | Recomputed


def run_with_cache(model: nn.Module, cache: Cache | None, **inputs: Any) -> tuple[Any, Any]:
    """Run tokens after those that a cache holds, or without one from the start.

    Args:
        model: a causal LM, with or without PEFT edits.
        cache: which the forward pass extends in place; None starts a new one.
        inputs: `input_ids`, `attention_mask` (of the cached tokens too), `position_ids` and options of the forward pass.

    Returns:
        The model's output, and its cache; None if the model has none.
    """
    name = _cache_name(model)
    if cache is not None:
        inputs[name] = cache
        if not any(isinstance(layer, CacheLayerMixin) for layer in cache.layers):
            # Recurrent layers read no token again, and cannot apply the mask of tokens that they are not given.
            inputs["attention_mask"] = None
    output = model(**inputs, use_cache=True)
    return output, getattr(output, name, None)


def copied(cache: AnyCache) -> AnyCache:
    """Return a copy that can be extended; it shares the keys and values, which no forward pass overwrites."""
    result = copy.copy(cache)
    if isinstance(result, Cache):
        result.layers = [_copied_layer(layer) for layer in result.layers]
    return result


def select_rows(cache: AnyCache, rows: Tensor) -> None:
    """Choose rows of a cache, in place; a row may be chosen several times, or not at all."""
    if isinstance(cache, Recomputed):
        cache.batch = rows_of(cache.batch, rows)
        cache.known = rows_of_gates(cache.known, rows)
    else:
        # Not `batch_select_indices`, which recurrent layers lack and hybrid layers inherit for their keys and values alone.
        cache.reorder_cache(cast(torch.LongTensor, rows))


def rows_of(batch: Batch, rows: Tensor) -> Batch:
    """Return chosen rows of a batch."""
    return Batch(batch.input_ids[rows], batch.attention_mask[rows], batch.prompt_length)


def shortened_by_one(cache: AnyCache) -> Cache | None:
    """Take the last token from a cache, which is not used any more; None if that is impossible."""
    if isinstance(cache, Recomputed):
        return None
    try:
        cache.crop(-1)
    except (RuntimeError, ValueError):
        # A sliding window has dropped the tokens that would move back into it.
        return None
    return cache


def is_recurrent(cache: Cache) -> bool:
    """Return whether some layers keep a state that each forward pass overwrites."""
    return any(isinstance(layer, LinearAttentionCacheLayerMixin) for layer in cache.layers)


def is_filled(cache: Cache) -> bool:
    """Return whether a cache holds tokens already."""
    if any(isinstance(layer, CacheLayerMixin) for layer in cache.layers):
        return cache.get_seq_length() > 0
    return is_recurrent(cache) and cache.has_previous_state()


def _copied_layer(layer: Any) -> Any:
    result = copy.copy(layer)
    if isinstance(layer, LinearAttentionCacheLayerMixin):
        # Its states are in dictionaries, and forward passes write into the tensors themselves.
        vars(result).update({name: copy.deepcopy(value) for name, value in vars(layer).items() if isinstance(value, dict)})
    return result


def _cache_name(model: nn.Module) -> str:
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    names = inspect.signature(base.forward).parameters
    return next((name for name in CACHE_NAMES if name in names), CACHE_NAMES[0])
