"""Hidden states of a block for many prompts, without running the blocks above it."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from expunge.data.prompts import Encoded, by_length, collate
from expunge.models.blocks import decoder_blocks


class _Enough(Exception):
    """Raised at the output of the block that is wanted, to leave the forward pass there."""


def prompt_states(
    model: nn.Module,
    prompts: Sequence[tuple[int, ...]],
    block: int,
    pad: int,
    batch_size: int = 16,
    advance: Callable[[int], None] = lambda rows: None,
) -> list[Tensor]:
    """Output of a block at every token of each prompt.

    Args:
        model: a causal LM; gradients are off, edits at or above `block` do not matter.
        prompts: token ids.
        block: 0-based.
        pad: padding token id.
        batch_size: prompts at once; they are taken in order of length.
        advance: called with the number of prompts done.

    Returns:
        One (tokens, hidden) fp32 tensor for each prompt, in the order given.
    """
    kept: list[Tensor] = []

    def stop(_module: nn.Module, _args: tuple, output: Tensor | tuple) -> None:
        kept.append(output[0] if isinstance(output, tuple) else output)
        raise _Enough

    states: list[Tensor] = [torch.empty(0)] * len(prompts)
    device = next(model.parameters()).device
    handle = decoder_blocks(model)[1][block].register_forward_hook(stop)
    try:
        for chosen in by_length(prompts, batch_size):
            batch = collate([Encoded(prompts[i]) for i in chosen], pad).to(device)
            try:
                with torch.no_grad():
                    model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, position_ids=batch.position_ids, use_cache=False)
            except _Enough:
                pass
            for i, row in zip(chosen, kept.pop(), strict=True):
                states[i] = row[batch.prompt_length - len(prompts[i]) :].float().cpu()
            advance(len(chosen))
    finally:
        handle.remove()
    return states
