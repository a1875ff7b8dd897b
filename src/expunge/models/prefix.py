"""What training an edit at the last prompt token leaves as it is, and the way into the model above it (spec: performance.md)."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from expunge.data.prompts import Batch
from expunge.errors import ExpungeError
from expunge.models.blocks import decoder_blocks
from expunge.models.forward_context import GateLogits, batch_context


class PrefixUnsupported(ExpungeError):
    """The forward cannot start at a block; the message says why."""


@dataclass(frozen=True)
class Prefix:
    """What the forward of a batch starts from.

    Attributes:
        block: the first edited block.
        states: (batch, 1 + answer_length, hidden), its output before the edit, at the last prompt token and the answer tokens.
        keys, values: (blocks above, batch, heads, prompt_length - 1, head_dim), of the prompt tokens before the last one.
        gates: logits of the gates that have read the prompt, at or below `block`.
    """

    block: int
    states: Tensor
    keys: Tensor
    values: Tensor
    gates: GateLogits

    def cache(self) -> DynamicCache:
        """A fresh cache of the prompt (a forward adds to it); blocks that do not run hold its length only, which masks are made from."""
        rows, past = len(self.states), self.keys.shape[-2]
        length_only = self.states.new_zeros(()).expand(rows, 1, past, 1)
        below = [(length_only, length_only)] * (self.block + 1)
        return DynamicCache([*below, *zip(self.keys, self.values, strict=True)])


def from_last_prompt_token(batch: Batch) -> Batch:
    """The rows from their last prompt token on, as a batch whose prompts are that one token."""
    start = batch.prompt_length - 1
    return Batch(batch.input_ids[:, start:], batch.attention_mask[:, start:], 1, batch.row_ids)


@torch.no_grad()
def compute_prefix(model: nn.Module, batch: Batch, block: int, gates: Callable[[], GateLogits]) -> Prefix:
    """Compute a batch's prefix in one forward pass, without gradients; edits at the last prompt token do not matter.

    Args:
        model: a PEFT model whose block `block` is wrapped.
        batch: rows on the model's device.
        block: the first edited block.
        gates: called after the forward, for what gates said of the prompts that will not ask again.

    Raises:
        PrefixUnsupported: the blocks give or keep something that a prefix has no place for.
    """
    cache, last = DynamicCache(), batch.prompt_length - 1
    states = _block_output(model, batch, block, past_key_values=cache, use_cache=True)[:, last:]
    above = [(keys, values) for keys, values, _ in cache][block + 1 :]
    if len({(keys.shape, values.shape) for keys, values in above}) > 1:
        raise PrefixUnsupported("the blocks of this model keep keys and values of different shapes")
    if not above:
        nothing = states.new_zeros(0, len(states), 1, last, 1)
        return Prefix(block, states, nothing, nothing, gates())
    keys, values = (torch.stack([part[..., :last, :] for part in parts]) for parts in zip(*above, strict=True))
    return Prefix(block, states, keys, values, gates())


@torch.no_grad()
def compute_prefix_states(model: nn.Module, batch: Batch, block: int) -> Tensor:
    """`Prefix.states` alone, without running the blocks above."""
    _, blocks = decoder_blocks(model)
    with _skipped(blocks, range(block + 1, len(blocks))):
        return _block_output(model, batch, block, use_cache=False)[:, batch.prompt_length - 1 :]


@contextmanager
def entered(model: nn.Module, prefix: Prefix) -> Iterator[None]:
    """Within this context the model's forwards start from the prefix: blocks below do nothing, the first edited one edits its states."""
    _, blocks = decoder_blocks(model)
    edited = blocks[prefix.block]
    base = edited.get_submodule("base_layer")
    with _skipped(blocks, range(prefix.block)):
        edited.base_layer = _StandIn(base, prefix.states)
        try:
            yield
        finally:
            edited.base_layer = base


def _block_output(model: nn.Module, batch: Batch, block: int, **options: object) -> Tensor:
    """Output (batch, seq, hidden) of a block before its edit."""
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _args: tuple, output: Tensor | tuple) -> None:
        if not isinstance(output, Tensor):
            raise PrefixUnsupported("the blocks of this model give more than hidden states")
        kept.append(output)

    handle = decoder_blocks(model)[1][block].get_submodule("base_layer").register_forward_hook(keep)
    try:
        with batch_context(batch):
            inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask, "position_ids": batch.position_ids}
            model(**inputs, logits_to_keep=1, **options)
    finally:
        handle.remove()
    return kept[0]


@contextmanager
def _skipped(blocks: nn.ModuleList, indices: Iterable[int]) -> Iterator[None]:
    """Within this context these blocks hand on what they are given. The list keeps its length: decoders count along it."""
    real = {i: blocks[i] for i in indices}
    try:
        for i, block in real.items():
            blocks[i] = _StandIn(block)
        yield
    finally:
        for i, block in real.items():
            blocks[i] = block


class _StandIn(nn.Module):
    """In a block's place: gives stored states, or hands on what it is given."""

    def __init__(self, block: nn.Module, states: Tensor | None = None):
        super().__init__()
        self.block = block
        self.states = states

    def __getattr__(self, name: str):
        """Attributes of the block itself: decoders read `attention_type` and the like from it."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "block":
                raise
            return getattr(self.block, name)

    def forward(self, hidden_states: Tensor, *args: object, **kwargs: object) -> Tensor:
        return hidden_states if self.states is None else self.states
