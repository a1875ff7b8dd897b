"""Caches of prefixes in main memory, one for each kind of prefix."""

from collections import ChainMap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedConfig
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from expunge.data.prompts import Batch, Encoded
from expunge.models.blocks import decoder_blocks
from expunge.models.forward_context import GateLogits
from expunge.models.prefix import LowerStates, Prefix, PrefixUnsupported, compute_lower_states, compute_prefix, compute_prefix_states
from expunge.models.row_store import RowStore, opened, rows_of, single_row, to_main_memory


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


class PrefixStore(RowStore):
    """A cache of `Prefix`, for a PEFT model whose first edited block is `block`.

    Args:
        gate_logits: returns the logits of gates from the last forward pass that a forward from a prefix does not compute.
        model, block, limit: see `RowStore`.
    """

    def __init__(self, model: nn.Module, block: int, gate_logits: Callable[[], GateLogits], limit: float):
        super().__init__(model, block, limit)
        self.gate_logits = gate_logits
        self._prompts: dict[tuple[int, ...], _PromptPrefix] = {}
        self._answers: dict[Encoded, Tensor] = {}

    def prefix(self, batch: Batch) -> Prefix:
        """Return the prefix of a batch, on the model's device."""
        rows, device = rows_of(batch), self._device
        prompts, answers = self._compute(rows, device)
        self._add(prompts, answers)
        all_prompts, all_answers = ChainMap(prompts, self._prompts), ChainMap(answers, self._answers)
        return self._join(batch, [all_prompts[row.prompt] for row in rows], [all_answers[row] for row in rows], device)

    def _holds_row(self, row: Encoded) -> bool:
        return row in self._answers

    def _fill_row(self, row: Encoded) -> None:
        self._add(*self._compute([row], self._device))

    def _compute(self, rows: Sequence[Encoded], device: torch.device) -> tuple[dict[tuple[int, ...], _PromptPrefix], dict[Encoded, Tensor]]:
        """Return what the store does not hold yet of some rows."""
        prompts: dict[tuple[int, ...], _PromptPrefix] = {}
        answers: dict[Encoded, Tensor] = {}
        for row in rows:
            if row.prompt not in self._prompts and row.prompt not in prompts:
                prompts[row.prompt] = _prompt_prefix(
                    compute_prefix(self.model, single_row(row.prompt, device), self.block, self.gate_logits)
                )
            if row not in self._answers and row not in answers:
                states = compute_prefix_states(self.model, single_row(row.prompt, device, row.answer), self.block)
                answers[row] = to_main_memory(states[0, 1:])
        return prompts, answers

    def _add(self, prompts: dict[tuple[int, ...], _PromptPrefix], answers: dict[Encoded, Tensor]) -> None:
        for ids, prompt in prompts.items():
            if self._reserve(prompt.tensors):
                self._prompts[ids] = prompt
        for row, answer in answers.items():
            # The states of an answer cannot be used without those of its prompt.
            if row.prompt in self._prompts and self._reserve([answer]):
                self._answers[row] = answer

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


class LowerStatesStore(RowStore):
    """A cache of `LowerStates`, for a model whose weights are trained above `block` only."""

    def __init__(self, model: nn.Module, block: int, limit: float):
        super().__init__(model, block, limit)
        self._states: dict[Encoded, Tensor] = {}

    def prefix(self, batch: Batch) -> LowerStates:
        """Return the states of a batch, on the model's device."""
        rows = rows_of(batch)
        computed = {row: self._compute(row) for row in dict.fromkeys(rows) if row not in self._states}
        for row, states in computed.items():
            self._add(row, states)
        of_rows = [computed[row] if row in computed else self._states[row] for row in rows]
        states = of_rows[0].new_zeros(*batch.input_ids.shape, of_rows[0].shape[-1])
        for i, (row, of_row) in enumerate(zip(rows, of_rows, strict=True)):
            start = batch.prompt_length - len(row.prompt)
            states[i, start : start + len(of_row)] = of_row
        return LowerStates(self.block, states.to(self._device))

    def _holds_row(self, row: Encoded) -> bool:
        return row in self._states

    def _fill_row(self, row: Encoded) -> None:
        self._add(row, self._compute(row))

    def _compute(self, row: Encoded) -> Tensor:
        return to_main_memory(compute_lower_states(self.model, single_row(row.prompt, self._device, row.answer), self.block)[0])

    def _add(self, row: Encoded, states: Tensor) -> None:
        if self._reserve([states]):
            self._states[row] = states


def open_prefix_store(model: nn.Module, block: int, gate_logits: Callable[[], GateLogits], limit: float, sample: Batch) -> PrefixStore:
    """Return an empty store, after a check on `sample` (rows of different lengths) that a prefix gives the same logits.

    The other arguments are those of `PrefixStore`.

    Raises:
        PrefixUnsupported: the model family cannot start from a prefix, or the logits of the sample differ.
    """
    _check_caches(model)
    return opened(partial(PrefixStore, model, block, gate_logits), limit, sample)


def open_lower_states_store(model: nn.Module, block: int, limit: float, sample: Batch) -> LowerStatesStore:
    """Return an empty store; as `open_prefix_store`."""
    _check_caches(model)
    return opened(partial(LowerStatesStore, model, block), limit, sample)


def _check_caches(model: nn.Module) -> None:
    layers = DynamicCache(config=cast(PreTrainedConfig, model.config)).layers
    if len(layers) != len(decoder_blocks(model)[1]) or not {type(layer) for layer in layers} <= {DynamicLayer, DynamicSlidingWindowLayer}:
        raise PrefixUnsupported("the blocks of this model share their cache, or cache more than keys and values")


def _prompt_prefix(prefix: Prefix) -> _PromptPrefix:
    return _PromptPrefix(
        to_main_memory(prefix.states[0, 0]),
        to_main_memory(prefix.keys[:, 0]),
        to_main_memory(prefix.values[:, 0]),
        {gate: to_main_memory(logits[0]) for gate, logits in prefix.gate_logits.items()},
    )
