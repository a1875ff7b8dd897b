"""`PrefixStore`: a cache of prefixes in main memory, up to a size limit (`training.prefix_cache_gib`)."""

import logging
import math
from collections import ChainMap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedConfig
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from expunge.data.prompts import Batch, Encoded
from expunge.models.blocks import decoder_blocks
from expunge.models.forward_context import GateLogits
from expunge.models.prefix import Prefix, PrefixUnsupported, compute_prefix, compute_prefix_states
from expunge.models.scoring import score

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _PromptPrefix:
    """The part of a row's `Prefix` that depends on its prompt alone.

    Attributes:
        state: (hidden,), at the last prompt token.
        keys, values: (blocks above, heads, tokens - 1, head_dim).
        gate_logits: scalars.
    """

    state: Tensor
    keys: Tensor
    values: Tensor
    gate_logits: GateLogits

    @property
    def tensors(self) -> list[Tensor]:
        return [self.state, self.keys, self.values, *self.gate_logits.values()]


class PrefixStore:
    """A cache of prefixes: it returns the prefix of any batch, and computes only the rows that it does not hold yet.

    The key of a row is its token ids, so a row can never get another row's prefix. Tensors are cached in the dtype of the model.

    Args:
        model: a PEFT model, without a distributed wrapper.
        block: the first edited block.
        gate_logits: returns the logits of gates from the last forward pass that a forward from a prefix does not compute.
        limit: bytes; rows that would exceed it are computed every time.
    """

    def __init__(self, model: nn.Module, block: int, gate_logits: Callable[[], GateLogits], limit: float):
        self.model = model
        self.block = block
        self.gate_logits = gate_logits
        self.limit = limit
        self.size = 0
        self._full = False
        self._prompts: dict[tuple[int, ...], _PromptPrefix] = {}
        self._answers: dict[Encoded, Tensor] = {}

    def prefix(self, batch: Batch) -> Prefix:
        """Return the prefix of a batch, on the model's device."""
        rows = _rows(batch)
        device = next(self.model.parameters()).device
        prompts, answers = self._compute(rows, device)
        self._add(prompts, answers)
        all_prompts, all_answers = ChainMap(prompts, self._prompts), ChainMap(answers, self._answers)
        return self._join(batch, [all_prompts[row.prompt] for row in rows], [all_answers[row] for row in rows], device)

    def holds(self, batch: Batch) -> bool:
        """Return whether the prefix of a batch is stored, so that nothing has to be computed for it."""
        return all(row in self._answers for row in _rows(batch))

    def fill(self, rows: Iterable[Encoded]) -> bool:
        """Store the prefixes of rows, up to the first that does not fit, and return whether all do."""
        device = next(self.model.parameters()).device
        for row in rows:
            self._add(*self._compute([row], device))
            if row not in self._answers:
                return False
        return True

    def _compute(self, rows: Sequence[Encoded], device: torch.device) -> tuple[dict[tuple[int, ...], _PromptPrefix], dict[Encoded, Tensor]]:
        """Return what the store does not hold yet of some rows."""
        prompts: dict[tuple[int, ...], _PromptPrefix] = {}
        answers: dict[Encoded, Tensor] = {}
        # Each row is computed alone and without padding, because in a batch its last bits depend on the other rows. A resumed training
        # may see a row for the first time in another batch than the uninterrupted training did, and must get the same bits.
        for row in rows:
            if row.prompt not in self._prompts and row.prompt not in prompts:
                prompts[row.prompt] = _prompt_prefix(
                    compute_prefix(self.model, _single_row(row.prompt, device), self.block, self.gate_logits)
                )
            if row not in self._answers and row not in answers:
                states = compute_prefix_states(self.model, _single_row(row.prompt, device, row.answer), self.block)
                answers[row] = _to_main_memory(states[0, 1:])
        return prompts, answers

    def _add(self, prompts: dict[tuple[int, ...], _PromptPrefix], answers: dict[Encoded, Tensor]) -> None:
        for ids, prompt in prompts.items():
            if self._reserve(prompt.tensors):
                self._prompts[ids] = prompt
        for row, answer in answers.items():
            # The states of an answer cannot be used without those of its prompt.
            if row.prompt in self._prompts and self._reserve([answer]):
                self._answers[row] = answer

    def _reserve(self, tensors: list[Tensor]) -> bool:
        size = sum(tensor.nbytes for tensor in tensors)
        if self.size + size <= self.limit:
            self.size += size
            return True
        if not self._full:
            self._full = True
            gib = self.limit / 2**30
            log.warning("training.prefix_cache_gib: the limit of %.3g GiB is reached; further prefixes are computed in every epoch", gib)
        return False

    def _join(self, batch: Batch, prompts: Sequence[_PromptPrefix], answers: Sequence[Tensor], device: torch.device) -> Prefix:
        first, past = prompts[0], batch.prompt_length - 1
        states = first.state.new_zeros(len(prompts), batch.input_ids.shape[1] - past, len(first.state))
        keys, values = (part.new_zeros(len(part), len(prompts), part.shape[1], past, part.shape[-1]) for part in (first.keys, first.values))
        for i, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
            start = past - prompt.keys.shape[-2]
            states[i, 0], states[i, 1 : 1 + len(answer)] = prompt.state, answer
            keys[:, i, :, start:], values[:, i, :, start:] = prompt.keys, prompt.values
        gate_logits = {gate: torch.stack([prompt.gate_logits[gate] for prompt in prompts]).to(device) for gate in first.gate_logits}
        return Prefix(self.block, states.to(device), keys.to(device), values.to(device), gate_logits)


def open_prefix_store(model: nn.Module, block: int, gate_logits: Callable[[], GateLogits], limit: float, sample: Batch) -> PrefixStore:
    """Return an empty store, after a check on `sample` (rows of different lengths) that a prefix gives the same logits.

    The other arguments are those of `PrefixStore`.

    Raises:
        PrefixUnsupported: the model family cannot start from a prefix, or the logits of the sample differ.
    """
    layers = DynamicCache(config=cast(PreTrainedConfig, model.config)).layers
    if len(layers) != len(decoder_blocks(model)[1]) or not {type(layer) for layer in layers} <= {DynamicLayer, DynamicSlidingWindowLayer}:
        raise PrefixUnsupported("the blocks of this model share their cache, or cache more than keys and values")
    parameter = next(model.parameters())
    sample = sample.to(parameter.device)
    expected = _logits(model, sample, None)
    from_prefix = _logits(model, sample, PrefixStore(model, block, gate_logits, limit=math.inf).prefix(sample))
    difference = ((from_prefix - expected).norm() / expected.norm()).item()
    if not difference <= max(1e-4, 8 * torch.finfo(parameter.dtype).eps):
        raise PrefixUnsupported(f"from a prefix at block {block}, this model's logits differ by {difference:.2g} of their norm")
    return PrefixStore(model, block, gate_logits, limit)


@torch.no_grad()
def _logits(model: nn.Module, batch: Batch, prefix: Prefix | None) -> Tensor:
    return cast(Tensor, score(model, batch, logits=True, prefix=prefix).logits).float()


def _rows(batch: Batch) -> list[Encoded]:
    ids, lengths = batch.input_ids.tolist(), batch.attention_mask[:, : batch.prompt_length].sum(-1).tolist()
    cut = batch.prompt_length
    answers = batch.attention_mask[:, cut:].sum(-1).tolist()
    return [
        Encoded(tuple(row[cut - length : cut]), tuple(row[cut : cut + answer]))
        for row, length, answer in zip(ids, lengths, answers, strict=True)
    ]


def _single_row(prompt: tuple[int, ...], device: torch.device, answer: tuple[int, ...] = ()) -> Batch:
    ids = torch.tensor([[*prompt, *answer]], device=device)
    return Batch(ids, torch.ones_like(ids), len(prompt))


def _prompt_prefix(prefix: Prefix) -> _PromptPrefix:
    return _PromptPrefix(
        _to_main_memory(prefix.states[0, 0]),
        _to_main_memory(prefix.keys[:, 0]),
        _to_main_memory(prefix.values[:, 0]),
        {gate: _to_main_memory(logits[0]) for gate, logits in prefix.gate_logits.items()},
    )


def _to_main_memory(part: Tensor) -> Tensor:
    # A copy, because a view would hold the memory of the whole batch.
    return part.to("cpu", copy=True, memory_format=torch.contiguous_format)
