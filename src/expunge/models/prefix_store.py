"""Prefixes of rows, each computed the first time its row is drawn and kept within a bound (spec: performance.md)."""

import logging
import math
from collections import ChainMap
from collections.abc import Callable, Sequence
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
class _Prompt:
    """One row's share of a `Prefix` that all its answers have in common.

    Attributes:
        state: (hidden,), at the last prompt token.
        keys, values: (blocks above, heads, tokens - 1, head_dim).
        gates: scalars.
    """

    state: Tensor
    keys: Tensor
    values: Tensor
    gates: GateLogits

    @property
    def tensors(self) -> list[Tensor]:
        """All of it."""
        return [self.state, self.keys, self.values, *self.gates.values()]


class PrefixStore:
    """Makes the prefix of any batch, from what is kept and forwards over the rows that are not.

    A row is known by its token ids, so nothing else can ever stand for it. It is kept in main memory, in the dtypes that
    the forward gave.

    Args:
        model: a PEFT model, without a distributed wrapper.
        block: the first edited block.
        gates: reads what gates said of the last prompts that will not ask again.
        limit: bytes; what would exceed it is computed anew each time.
    """

    def __init__(self, model: nn.Module, block: int, gates: Callable[[], GateLogits], limit: float):
        self.model = model
        self.block = block
        self.gates = gates
        self.limit = limit
        self.held = 0
        self._full = False
        self._prompts: dict[tuple[int, ...], _Prompt] = {}
        self._answers: dict[Encoded, Tensor] = {}

    def prefix(self, batch: Batch) -> Prefix:
        """The prefix of a batch, on the model's device."""
        rows = _rows(batch)
        device = next(self.model.parameters()).device
        prompts: dict[tuple[int, ...], _Prompt] = {}
        answers: dict[Encoded, Tensor] = {}
        # Each alone and without padding: beside others it comes out otherwise in its last bits, and a training that goes on after an
        # interruption meets a row for the first time beside others than the uninterrupted one did.
        for row in rows:
            if row.prompt not in self._prompts and row.prompt not in prompts:
                prompts[row.prompt] = _prompt_of(compute_prefix(self.model, _alone(row.prompt, device), self.block, self.gates))
            if row not in self._answers and row not in answers:
                states = compute_prefix_states(self.model, _alone(row.prompt, device, row.answer), self.block)
                answers[row] = _own(states[0, 1:])
        self._keep(prompts, answers)
        known, said = ChainMap(prompts, self._prompts), ChainMap(answers, self._answers)
        return self._joined(batch, [known[row.prompt] for row in rows], [said[row] for row in rows], device)

    def _keep(self, prompts: dict[tuple[int, ...], _Prompt], answers: dict[Encoded, Tensor]) -> None:
        for ids, prompt in prompts.items():
            if self._fits(prompt.tensors):
                self._prompts[ids] = prompt
        for row, answer in answers.items():
            # Without its prompt an answer's states are of no use.
            if row.prompt in self._prompts and self._fits([answer]):
                self._answers[row] = answer

    def _fits(self, tensors: list[Tensor]) -> bool:
        size = sum(tensor.nbytes for tensor in tensors)
        if self.held + size <= self.limit:
            self.held += size
            return True
        if not self._full:
            self._full = True
            gib = self.limit / 2**30
            log.warning("training.prefix_cache_gib: %.3g GiB are full; the prefixes of further rows are computed anew each time", gib)
        return False

    def _joined(self, batch: Batch, prompts: Sequence[_Prompt], answers: Sequence[Tensor], device: torch.device) -> Prefix:
        first, past = prompts[0], batch.prompt_length - 1
        states = first.state.new_zeros(len(prompts), batch.input_ids.shape[1] - past, len(first.state))
        keys, values = (part.new_zeros(len(part), len(prompts), part.shape[1], past, part.shape[-1]) for part in (first.keys, first.values))
        for i, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
            start = past - prompt.keys.shape[-2]
            states[i, 0], states[i, 1 : 1 + len(answer)] = prompt.state, answer
            keys[:, i, :, start:], values[:, i, :, start:] = prompt.keys, prompt.values
        gates = {gate: torch.stack([prompt.gates[gate] for prompt in prompts]).to(device) for gate in first.gates}
        return Prefix(self.block, states.to(device), keys.to(device), values.to(device), gates)


def open_prefix_store(model: nn.Module, block: int, gates: Callable[[], GateLogits], limit: float, sample: Batch) -> PrefixStore:
    """A store for a model that can be entered at a block, which is tried on a sample: rows of different lengths.

    The other arguments are those of `PrefixStore`.

    Raises:
        PrefixUnsupported: the model family has no way in, or the sample's logits come out otherwise.
    """
    layers = DynamicCache(config=cast(PreTrainedConfig, model.config)).layers
    if len(layers) != len(decoder_blocks(model)[1]) or not {type(layer) for layer in layers} <= {DynamicLayer, DynamicSlidingWindowLayer}:
        raise PrefixUnsupported("the blocks of this model share, or keep more than, keys and values")
    parameter = next(model.parameters())
    sample = sample.to(parameter.device)
    whole = _logits(model, sample, None)
    found = _logits(model, sample, PrefixStore(model, block, gates, limit=math.inf).prefix(sample))
    gap = ((found - whole).norm() / whole.norm()).item()
    if not gap <= max(1e-4, 8 * torch.finfo(parameter.dtype).eps):
        raise PrefixUnsupported(f"entered at block {block}, this model's logits are off by {gap:.2g} of their size")
    return PrefixStore(model, block, gates, limit)


@torch.no_grad()
def _logits(model: nn.Module, batch: Batch, prefix: Prefix | None) -> Tensor:
    return cast(Tensor, score(model, batch, logits=True, prefix=prefix).logits).float()


def _rows(batch: Batch) -> list[Encoded]:
    ids, lengths = batch.input_ids.tolist(), batch.attention_mask[:, : batch.prompt_length].sum(-1).tolist()
    answers, cut = batch.labelled.sum(-1).tolist(), batch.prompt_length
    return [
        Encoded(tuple(row[cut - length : cut]), tuple(row[cut : cut + answer]))
        for row, length, answer in zip(ids, lengths, answers, strict=True)
    ]


def _alone(prompt: tuple[int, ...], device: torch.device, answer: tuple[int, ...] = ()) -> Batch:
    ids = torch.tensor([[*prompt, *answer]], device=device)
    return Batch(ids, torch.ones_like(ids), len(prompt))


def _prompt_of(read: Prefix) -> _Prompt:
    return _Prompt(
        _own(read.states[0, 0]), _own(read.keys[:, 0]), _own(read.values[:, 0]), {gate: _own(said[0]) for gate, said in read.gates.items()}
    )


def _own(part: Tensor) -> Tensor:
    """A copy in main memory: a view would keep the whole batch alive."""
    return part.to("cpu", copy=True, memory_format=torch.contiguous_format)
