"""Greedy answers to many prompts, batched by length."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import nn

from expunge.data.prompts import Encoded, PromptBuilder, collate


@torch.no_grad()
def generate(
    model: nn.Module,
    builder: PromptBuilder,
    prompts: Sequence[tuple[int, ...]],
    max_new_tokens: int,
    batch_size: int = 16,
    advance: Callable[[int], None] = lambda rows: None,
) -> list[str]:
    """The model's greedy answer to each prompt, up to its end of turn.

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
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    device = next(model.parameters()).device
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        batch = collate([Encoded(prompts[i]) for i in chosen], builder.pad).to(device)
        output = cast(Any, model).generate(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            eos_token_id=builder.end_of_turn,
            pad_token_id=builder.pad,
        )
        for i, ids in zip(chosen, output[:, batch.prompt_length :].tolist(), strict=True):
            ended = ids.index(builder.end_of_turn) if builder.end_of_turn in ids else len(ids)
            answers[i] = cast(str, builder.tokenizer.decode(ids[:ended], skip_special_tokens=True)).strip()
        advance(len(chosen))
    return answers
