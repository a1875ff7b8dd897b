"""Prefixes: what a forward pass computes below everything that is trained, so that training can start from there.

An edit at the last prompt token changes neither the blocks below it nor the prompt tokens before the last one, so these are computed
once (`Prefix`). Trained weights change the keys and values of every token in their block, so that only the blocks below the first of
them are computed once (`LowerStates`).
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from expunge.data.prompts import Batch
from expunge.errors import ExpungeError
from expunge.models.blocks import decoder_blocks
from expunge.models.forward_context import NO_GATE_LOGITS, GateLogits, batch_context
from expunge.models.head import head_inputs


class PrefixUnsupported(ExpungeError):
    """Raised when a model or edit cannot start from a prefix; the message says why."""


class Start(Protocol):
    """What the forward pass of a batch starts from."""

    @property
    def gate_logits(self) -> GateLogits:
        """The logits of gates that have read the prompts, and that the forward pass does not compute."""
        ...

    def rest(self, batch: Batch) -> Batch:
        """Return the part of the batch that still has to be read."""
        ...

    def options(self) -> dict[str, Any]:
        """Return what the model's forward pass is called with, about its KV cache."""
        ...

    def applied(self, model: nn.Module) -> AbstractContextManager[None]:
        """Make the model's forward passes in this context start here: the blocks below do not run."""
        ...


@dataclass(frozen=True)
class Prefix:
    """The start below an edit at the last prompt token.

    Attributes:
        block: the first edited block.
        states: (batch, 1 + answer_length, hidden), its output before the edit, at the last prompt token and the answer tokens.
        keys, values: (blocks above, batch, heads, prompt_length - 1, head_dim), of the prompt tokens before the last one.
        gate_logits: of the gates at or below `block` that have read the prompt.
    """

    block: int
    states: Tensor
    keys: Tensor
    values: Tensor
    gate_logits: GateLogits

    def rest(self, batch: Batch) -> Batch:
        """Return the batch from the last prompt token on."""
        return from_last_prompt_token(batch)

    def options(self) -> dict[str, Any]:
        """Return a new KV cache of the prompt, which a forward pass extends."""
        rows, past = len(self.states), self.keys.shape[-2]
        # The blocks below do not run, but attention masks are made from the length of their cache.
        length_only = self.states.new_zeros(()).expand(rows, 1, past, 1)
        below = [(length_only, length_only)] * (self.block + 1)
        return {"use_cache": True, "past_key_values": DynamicCache([*below, *zip(self.keys, self.values, strict=True)])}

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Make the model start here: the blocks below do not run, and the edit of `block` reads the states."""
        _, blocks = decoder_blocks(model)
        edited = blocks[self.block]
        base = edited.get_submodule("base_layer")
        with _replaced(blocks, range(self.block)):
            edited.base_layer = _StandIn(base, self.states)
            try:
                yield
            finally:
                edited.base_layer = base


@dataclass(frozen=True)
class LowerStates:
    """The start below the first trained weight.

    Attributes:
        block: the last block below it.
        states: (batch, seq, hidden), the output of the block at every token.
    """

    block: int
    states: Tensor

    @property
    def gate_logits(self) -> GateLogits:
        """Return that no gate has read the prompts: a pooled gate belongs to another edit."""
        return NO_GATE_LOGITS

    def rest(self, batch: Batch) -> Batch:
        """Return the whole batch: the blocks above read every token."""
        return batch

    def options(self) -> dict[str, Any]:
        """Return that there is no KV cache."""
        return {"use_cache": False}

    def applied(self, model: nn.Module) -> AbstractContextManager[None]:
        """Make the model start here: the blocks up to `block` do not run."""
        return _replaced(decoder_blocks(model)[1], range(self.block + 1), self.states)


def from_last_prompt_token(batch: Batch) -> Batch:
    """Return the batch without its prompt tokens before the last one."""
    start = batch.prompt_length - 1
    return replace(batch, input_ids=batch.input_ids[:, start:], attention_mask=batch.attention_mask[:, start:], prompt_length=1)


@torch.no_grad()
def compute_prefix(model: nn.Module, batch: Batch, block: int, gate_logits: Callable[[], GateLogits]) -> Prefix:
    """Compute the prefix of a batch in one forward pass; edits at the last prompt token do not change it.

    Args:
        model: a PEFT model whose block `block` is wrapped.
        batch: on the model's device.
        block: the first edited block.
        gate_logits: called after the forward pass; returns the logits of the gates that a forward from the prefix does not compute.

    Raises:
        PrefixUnsupported: the blocks return more than hidden states, or their keys and values differ in shape.
    """
    cache, last = DynamicCache(), batch.prompt_length - 1
    states = _block_output(model, batch, block, past_key_values=cache, use_cache=True)[:, last:]
    above = [(keys, values) for keys, values, _ in cache][block + 1 :]
    if len({(keys.shape, values.shape) for keys, values in above}) > 1:
        raise PrefixUnsupported("the blocks of this model have keys and values of different shapes")
    if not above:
        empty = states.new_zeros(0, len(states), 1, last, 1)
        return Prefix(block, states, empty, empty, gate_logits())
    keys, values = (torch.stack([part[..., :last, :] for part in parts]) for parts in zip(*above, strict=True))
    return Prefix(block, states, keys, values, gate_logits())


@torch.no_grad()
def compute_prefix_states(model: nn.Module, batch: Batch, block: int) -> Tensor:
    """Compute `Prefix.states` alone, without running the blocks above."""
    return compute_lower_states(model, batch, block)[:, batch.prompt_length - 1 :]


@torch.no_grad()
def compute_lower_states(model: nn.Module, batch: Batch, block: int) -> Tensor:
    """Compute `LowerStates.states` in one forward pass, without running the blocks above."""
    _, blocks = decoder_blocks(model)
    with _replaced(blocks, range(block + 1, len(blocks))):
        return _block_output(model, batch, block, use_cache=False)


def _block_output(model: nn.Module, batch: Batch, block: int, **options: object) -> Tensor:
    """Return the output of a block before its edit, (batch, seq, hidden)."""
    outputs: list[Tensor] = []

    def store(_module: nn.Module, _args: tuple, output: Tensor | tuple) -> None:
        if not isinstance(output, Tensor):
            raise PrefixUnsupported("the blocks of this model return more than hidden states")
        outputs.append(output)

    whole = decoder_blocks(model)[1][block]
    handle = getattr(whole, "base_layer", whole).register_forward_hook(store)
    head = cast(Any, model).get_output_embeddings()
    # Nobody reads the logits. With a vocabulary of 262,000 they would take most of the time.
    without_head = head_inputs(model, head) if isinstance(head, nn.Linear) else nullcontext()
    try:
        with batch_context(batch), without_head:
            inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask, "position_ids": batch.position_ids}
            model(**inputs, logits_to_keep=1, **options)
    finally:
        handle.remove()
    return outputs[0]


@contextmanager
def _replaced(blocks: nn.ModuleList, indices: range, states: Tensor | None = None) -> Iterator[None]:
    """Make these blocks return the states, or their input if there are none. They stay in the list: decoders count blocks by it."""
    real = {i: blocks[i] for i in indices}
    try:
        for i, block in real.items():
            blocks[i] = _StandIn(block, states)
        yield
    finally:
        for i, block in real.items():
            blocks[i] = block


class _StandIn(nn.Module):
    """Takes the place of a block and returns stored states, or its input if there are none."""

    def __init__(self, block: nn.Module, states: Tensor | None = None):
        super().__init__()
        self.block = block
        self.states = states

    def __getattr__(self, name: str):
        # Decoders read attributes of the block, such as `attention_type`.
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "block":
                raise
            return getattr(self.block, name)

    def forward(self, hidden_states: Tensor, *args: object, **kwargs: object) -> Tensor:
        return hidden_states if self.states is None else self.states
