"""Answers without a cache, which those with one must equal."""

import torch
from torch import nn

from expunge.data.prompts import Encoded, PromptBuilder, collate
from expunge.models.forward_context import batch_context
from expunge.models.generation import as_text


@torch.no_grad()
def uncached_answer(model: nn.Module, builder: PromptBuilder, prompt: tuple[int, ...], tokens: int) -> str:
    """Return the greedy answer to a prompt, with a forward pass over the whole sequence for each token."""
    answer: tuple[int, ...] = ()
    while len(answer) < tokens:
        batch = collate([Encoded(prompt, answer)], builder.pad)
        with batch_context(batch):
            token = int(model(input_ids=batch.input_ids, use_cache=False).logits[0, -1].argmax())
        if token == builder.end_of_turn:
            break
        answer = (*answer, token)
    return as_text(builder, answer)
