"""Hidden states and gate logits of many prompts at chosen blocks, without running the blocks above."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from itertools import takewhile

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from transformers import DynamicCache

from expunge.data.prompts import Batch, Encoded, batches_by_length, collate
from expunge.models.blocks import check_length, decoder_blocks
from expunge.models.cache_check import CacheUse, cache_use
from expunge.models.forward_context import collect_gate_logits
from expunge.models.kv_cache import copied, select_rows

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
    share_beginning: bool = False,
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
        share_beginning: read the tokens that all prompts begin with once, such as the template's system message, if the model's cache
            can be shared. Equal token ids must mean equal states: soft prompts, for example, differ from row to row.

    Returns:
        For each block the transformed states of each prompt, in the order given, in main memory.
    """
    states: dict[int, list[Tensor]] = {block: [torch.empty(0)] * len(prompts) for block in blocks}
    common = _common_beginning(model, prompts) if share_beginning else 0
    for chosen, outputs in _forward_up_to(model, prompts, blocks, pad, batch_size, edited=False, common=common):
        for block, rows in outputs.items():
            for i, row in zip(chosen, rows, strict=True):
                states[block][i] = transform(row[starts[i] if starts else 0 :]).cpu()
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
        for chosen, _ in _forward_up_to(model, prompts, [block], pad, BATCH_SIZE, edited=True):
            largest[chosen] = torch.stack([logits.cpu() for (name, _), logits in gate_logits.items() if name == adapter]).amax(0)
            advance(len(chosen))
    return largest


@torch.no_grad()
def _forward_up_to(
    model: nn.Module,
    prompts: Sequence[tuple[int, ...]],
    blocks: Sequence[int],
    pad: int,
    batch_size: int,
    edited: bool,
    common: int = 0,
) -> Iterator[tuple[list[int], dict[int, list[Tensor]]]]:
    """Run prompts in batches by length, up to the highest block; yield their indices, and for each block their outputs, (tokens, hidden).

    The outputs are those after the edit of their block if `edited`, else before it. `common` tokens, which all prompts begin with, are
    read once.
    """
    check_length(model, max(map(len, prompts), default=0), "a prompt")
    device = next(model.parameters()).device
    cache, beginning = None, {}
    if common:
        cache = DynamicCache()
        ids = torch.tensor([prompts[0][:common]], device=device)
        beginning = _outputs(model, blocks, edited, input_ids=ids, use_cache=True, past_key_values=cache)
    for chosen in batches_by_length(prompts, batch_size):
        # Padding between the beginning and the rest would count in sliding windows, so what follows a beginning is padded on the right.
        rows = [Encoded((), prompts[i][common:]) if common else Encoded(prompts[i]) for i in chosen]
        batch = collate(rows, pad).to(device)
        mask = torch.cat((batch.attention_mask.new_ones(len(chosen), common), batch.attention_mask), dim=1)
        inputs = {"input_ids": batch.input_ids, "attention_mask": mask, "position_ids": batch.position_ids + common}
        if cache is None:
            outputs = _outputs(model, blocks, edited, **inputs, use_cache=False)
        else:
            extended = copied(cache)
            select_rows(extended, torch.zeros(len(chosen), dtype=torch.long, device=device))
            outputs = _outputs(model, blocks, edited, **inputs, use_cache=True, past_key_values=extended)
        yield chosen, {block: list(_without_padding(output, batch, beginning.get(block))) for block, output in outputs.items()}


def _without_padding(output: Tensor, batch: Batch, beginning: Tensor | None) -> Iterator[Tensor]:
    """Yield the outputs of each row of a batch after those of the tokens that all rows begin with."""
    for row, tokens in zip(output, batch.attention_mask.sum(-1).tolist(), strict=True):
        yield row[len(row) - tokens :] if beginning is None else torch.cat((beginning[0], row[:tokens]))


def _common_beginning(model: nn.Module, prompts: Sequence[tuple[int, ...]]) -> int:
    """Return how many tokens at the beginning of all prompts can be read once: not the last one, and none if edits read them."""
    # Whatever the lowest and the highest sequence have in common, those between them have too.
    ends = zip(min(prompts, default=()), max(prompts, default=()), strict=False)
    equal = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], ends))
    common = min(equal, min(map(len, prompts), default=0) - 1)
    if len(prompts) < 2 or common < 1 or any(isinstance(module, BaseTunerLayer) for module in model.modules()):
        return 0
    return common if cache_use(model) == CacheUse.SHARED else 0


def _outputs(model: nn.Module, blocks: Sequence[int], edited: bool, **inputs: object) -> dict[int, Tensor]:
    """Run the model up to the highest block and return the outputs of the blocks."""
    outputs: dict[int, Tensor] = {}

    def store(block: int) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: tuple, output: Tensor | tuple) -> None:
            outputs[block] = output[0] if isinstance(output, tuple) else output
            if block == max(blocks):
                raise _StopForward

        return hook

    with ExitStack() as stack:
        for block in blocks:
            module = decoder_blocks(model)[1][block]
            module = module if edited else getattr(module, "base_layer", module)
            stack.callback(module.register_forward_hook(store(block)).remove)
        stack.enter_context(suppress(_StopForward))
        model(**inputs)
    return outputs
