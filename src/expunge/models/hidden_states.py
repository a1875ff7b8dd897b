"""What a model says of many prompts at one block, without running the blocks above it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress

import torch
from torch import Tensor, nn

from expunge.data.prompts import Batch, Encoded, batches_by_length, collate
from expunge.models.blocks import decoder_blocks
from expunge.models.forward_context import collect_gate_logits

BATCH_SIZE = 16


class _Enough(Exception):
    """Raised at the output of the block that is wanted, to leave the forward pass there."""


def prompt_states(
    model: nn.Module,
    prompts: Sequence[tuple[int, ...]],
    blocks: Sequence[int],
    pad: int,
    batch_size: int = BATCH_SIZE,
    advance: Callable[[int], None] = lambda rows: None,
    keep: Callable[[Tensor], Tensor] = Tensor.float,
) -> dict[int, list[Tensor]]:
    """Outputs of blocks at every token of each prompt.

    Args:
        model: a causal LM; gradients are off. What an edit makes of a block's output is left out, as a gate at that block does not
            read it either; edits of lower blocks show.
        prompts: token ids.
        blocks: 0-based.
        pad: padding token id.
        batch_size: prompts at once; they are taken in order of length.
        advance: called with the number of prompts done.
        keep: what is kept of states, (tokens, hidden); fp32 by default.

    Returns:
        For each block what is kept of each prompt, in the order given, in main memory.
    """
    states: dict[int, list[Tensor]] = {block: [torch.empty(0)] * len(prompts) for block in blocks}
    for chosen, batch, outputs in _up_to(model, prompts, blocks, pad, batch_size, edited=False):
        for block, output in outputs.items():
            for i, row in zip(chosen, output, strict=True):
                states[block][i] = keep(row[batch.prompt_length - len(prompts[i]) :]).cpu()
        advance(len(chosen))
    return states


def prompt_gate_logits(
    model: nn.Module,
    prompts: Sequence[tuple[int, ...]],
    adapter: str,
    block: int,
    pad: int,
    advance: Callable[[int], None] = lambda rows: None,
) -> Tensor:
    """What an adapter's gates say of each prompt: (prompts,), the largest of their logits.

    Args:
        model: a causal LM with a gated edit.
        prompts: token ids.
        adapter: whose gates.
        block: the highest one that carries a gate of the adapter.
        pad: padding token id.
        advance: called with the number of prompts done.
    """
    said = torch.empty(len(prompts))
    with collect_gate_logits() as gates:
        for chosen, _, _ in _up_to(model, prompts, [block], pad, BATCH_SIZE, edited=True):
            said[chosen] = torch.stack([logits.cpu() for (name, _), logits in gates.items() if name == adapter]).amax(0)
            advance(len(chosen))
    return said


@torch.no_grad()
def _up_to(
    model: nn.Module, prompts: Sequence[tuple[int, ...]], blocks: Sequence[int], pad: int, batch_size: int, edited: bool
) -> Iterator[tuple[list[int], Batch, dict[int, Tensor]]]:
    """Batches of prompts in order of length: which prompts, their batch, and {block: its output, (batch, seq, hidden)}, edited or not."""
    kept: dict[int, Tensor] = {}

    def keep(block: int) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: tuple, output: Tensor | tuple) -> None:
            kept[block] = output[0] if isinstance(output, tuple) else output
            if block == max(blocks):
                raise _Enough

        return hook

    device = next(model.parameters()).device
    for chosen in batches_by_length(prompts, batch_size):
        batch = collate([Encoded(prompts[i]) for i in chosen], pad).to(device)
        with ExitStack() as stack:
            for block in blocks:
                module = decoder_blocks(model)[1][block]
                module = module if edited else getattr(module, "base_layer", module)
                stack.callback(module.register_forward_hook(keep(block)).remove)
            stack.enter_context(suppress(_Enough))
            model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, position_ids=batch.position_ids, use_cache=False)
        yield chosen, batch, kept
