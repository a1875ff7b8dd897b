"""Greedy answers to many prompts, batched by length; a row that has ended costs nothing more."""

import sys
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import nn

from expunge.data.prompts import Batch, Encoded, PromptBuilder, by_length, collate
from expunge.models.blocks import context_length
from expunge.models.span import continued_prompts


@torch.no_grad()
def generate(
    model: nn.Module,
    builder: PromptBuilder,
    prompts: Sequence[tuple[int, ...]],
    max_new_tokens: int,
    batch_size: int = 16,
    advance: Callable[[int], None] = lambda rows: None,
) -> list[str]:
    """The model's greedy answer to each prompt, up to its end of turn or the end of the model's context.

    Args:
        model: a causal LM with or without edits.
        builder: of its tokenizer.
        prompts: token ids.
        max_new_tokens: at most.
        batch_size: prompts at once; they are taken in order of length, padded on the left.
        advance: called with the number of prompts done.

    Returns:
        Texts in the order of the prompts, without special tokens.
    """
    answers = [""] * len(prompts)
    device = next(model.parameters()).device
    for chosen in by_length(prompts, batch_size):
        batch = collate([Encoded(prompts[i]) for i in chosen], builder.pad).to(device)
        for i, ids in zip(chosen, _greedy(model, batch, builder.end_of_turn, max_new_tokens), strict=True):
            answers[i] = cast(str, builder.tokenizer.decode(ids, skip_special_tokens=True)).strip()
        advance(len(chosen))
    return answers


def _greedy(model: nn.Module, batch: Batch, end: int, limit: int) -> list[list[int]]:
    """The most likely token again and again, `end` left out; a row that has ended leaves the batch."""
    answers: list[list[int]] = [[] for _ in batch.input_ids]
    owner, mask, position = list(range(len(answers))), batch.attention_mask, batch.position_ids
    output = model(input_ids=batch.input_ids, attention_mask=mask, position_ids=position, use_cache=True, logits_to_keep=1)
    cache, position = output.past_key_values, position[:, -1:]
    for _ in range(limit):
        said = output.logits[:, -1].argmax(-1)
        for row, token in zip(owner, said.tolist(), strict=True):
            answers[row].append(token)
        # One position is kept for the end of turn that a record made of this answer gets.
        fits = position[:, 0] + 4 <= (context_length(model) or sys.maxsize)
        going = ((said != end) & fits).nonzero()[:, 0]
        owner = [owner[row] for row in going.tolist()]
        if not owner or len(answers[owner[0]]) == limit:
            break
        if len(going) < len(said):
            cache.batch_select_indices(going)
        mask = torch.cat((mask[going], mask.new_ones(len(going), 1)), dim=1)
        position = position[going] + 1
        with continued_prompts(going):
            output = model(input_ids=said[going, None], attention_mask=mask, position_ids=position, past_key_values=cache, use_cache=True)
    return [ids[:-1] if ids[-1] == end else ids for ids in answers]
