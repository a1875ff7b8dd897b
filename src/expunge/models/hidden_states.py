"""Hidden states and gate logits of many prompts at chosen blocks, without running the blocks above."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress

import torch
from torch import Tensor, nn

from expunge.data.prompts import Batch, Encoded, batches_by_length, collate
from expunge.models.blocks import check_length, decoder_blocks
from expunge.models.forward_context import collect_gate_logits

BATCH_SIZE = 16


class _StopForward(Exception):
    """Raised at the output of the highest chosen block, to end the forward pass there."""


def prompt_states(
    model: nn.Module,
    prompts: Sequence[tuple[int, ...]],
    blocks: Sequence[int],
    pad: int,
    batch_size: int = BATCH_SIZE,
    advance: Callable[[int], None] = lambda prompts: None,
    transform: Callable[[Tensor], Tensor] = Tensor.float,
    starts: Sequence[int] | None = None,
) -> dict[int, list[Tensor]]:
    """Return the outputs of blocks at every token of each prompt, as a gate at these blocks reads them.

    Args:
        model: a causal LM; gradients are off. Edits of lower blocks show in the states, the edit of the block itself does not.
        prompts: token ids of each prompt.
        blocks: 0-based.
        pad: padding token id.
        batch_size: prompts in a batch; batches are formed by length.
        advance: called with the number of prompts done.
        transform: applied to the states of a prompt, (tokens, hidden), before they are stored; the default converts to fp32.
        starts: for each prompt the first token whose state is returned; None: the first one.

    Returns:
        For each block the transformed states of each prompt, in the order given, in main memory.
    """
    states: dict[int, list[Tensor]] = {block: [torch.empty(0)] * len(prompts) for block in blocks}
    for chosen, batch, outputs in _forward_up_to(model, prompts, blocks, pad, batch_size, edited=False):
        for block, output in outputs.items():
            for i, row in zip(chosen, output, strict=True):
                first = batch.prompt_length - len(prompts[i]) + (starts[i] if starts else 0)
                states[block][i] = transform(row[first:]).cpu()
        advance(len(chosen))
    return states


def prompt_gate_logits(
    model: nn.Module,
    prompts: Sequence[tuple[int, ...]],
    adapter: str,
    block: int,
    pad: int,
    advance: Callable[[int], None] = lambda prompts: None,
) -> Tensor:
    """Return the largest gate logit of an adapter for each prompt, (prompts,).

    Args:
        model: a causal LM with a gated edit.
        prompts: token ids of each prompt.
        adapter: whose gates.
        block: the highest block with a gate of the adapter.
        pad: padding token id.
        advance: called with the number of prompts done.
    """
    largest = torch.empty(len(prompts))
    with collect_gate_logits() as gate_logits:
        for chosen, _, _ in _forward_up_to(model, prompts, [block], pad, BATCH_SIZE, edited=True):
            largest[chosen] = torch.stack([logits.cpu() for (name, _), logits in gate_logits.items() if name == adapter]).amax(0)
            advance(len(chosen))
    return largest


@torch.no_grad()
def _forward_up_to(
    model: nn.Module, prompts: Sequence[tuple[int, ...]], blocks: Sequence[int], pad: int, batch_size: int, edited: bool
) -> Iterator[tuple[list[int], Batch, dict[int, Tensor]]]:
    """Run prompts in batches by length, up to the highest block; yield their indices, their batch and the outputs of the blocks.

    Outputs are {block: (batch, seq, hidden)}, after the block's edit if `edited`, else before it.
    """
    outputs: dict[int, Tensor] = {}

    def store(block: int) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: tuple, output: Tensor | tuple) -> None:
            outputs[block] = output[0] if isinstance(output, tuple) else output
            if block == max(blocks):
                raise _StopForward

        return hook

    check_length(model, max(map(len, prompts), default=0), "a prompt")
    device = next(model.parameters()).device
    for chosen in batches_by_length(prompts, batch_size):
        batch = collate([Encoded(prompts[i]) for i in chosen], pad).to(device)
        with ExitStack() as stack:
            for block in blocks:
                module = decoder_blocks(model)[1][block]
                module = module if edited else getattr(module, "base_layer", module)
                stack.callback(module.register_forward_hook(store(block)).remove)
            stack.enter_context(suppress(_StopForward))
            model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, position_ids=batch.position_ids, use_cache=False)
        yield chosen, batch, outputs
