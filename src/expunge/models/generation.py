"""Generate answers to many prompts, by greedy decoding or sampling, in batches of similar length."""

import sys
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from expunge.data.prompts import PromptBuilder, decoding_batches
from expunge.models.blocks import context_length
from expunge.models.prompt_cache import PromptCache, forward_continuation, read_prompts

Sampler = Callable[[Tensor], Tensor]
"""Choose the next tokens: logits (rows, vocab) -> token ids (rows,)."""


def greedy(logits: Tensor) -> Tensor:
    """Return the most likely tokens."""
    return logits.argmax(-1)


def nucleus_sampler(seed: int, temperature: float = 1.0, top_p: float = 1.0) -> Sampler:
    """Return a sampler of the nucleus, the fewest tokens with a total probability of `top_p` (Holtzman et al., 2020, arXiv 1904.09751)."""
    generator = torch.Generator().manual_seed(seed)

    def from_vocabulary(logits: Tensor) -> Tensor:
        # Inverse transform sampling: to sort the vocabulary would take longer than the model's forward pass.
        cumulative = (logits.double().cpu() / temperature).softmax(-1).cumsum(-1)
        drawn = torch.rand((len(cumulative), 1), generator=generator, dtype=cumulative.dtype) * cumulative[:, -1:]
        return torch.searchsorted(cumulative, drawn, right=True)[:, 0].clamp(max=cumulative.shape[-1] - 1).to(logits.device)

    def from_nucleus(logits: Tensor) -> Tensor:
        probability, tokens = (logits.float().cpu() / temperature).softmax(-1).sort(descending=True)
        probability[probability.cumsum(-1) - probability >= top_p] = 0.0
        return tokens.gather(-1, torch.multinomial(probability, 1, generator=generator))[:, 0].to(logits.device)

    return from_vocabulary if top_p == 1.0 else from_nucleus


def generate(
    model: nn.Module,
    builder: PromptBuilder,
    prompts: Sequence[tuple[int, ...]],
    max_new_tokens: int,
    batch_size: int = 16,
    advance: Callable[[int], None] = lambda prompts: None,
    sampler: Sampler = greedy,
) -> list[str]:
    """Return the model's answer to each prompt, up to its end of turn or the end of the model's context.

    Args:
        model: a causal LM with or without edits.
        builder: of its tokenizer.
        prompts: token ids of each prompt.
        max_new_tokens: maximum length of an answer.
        batch_size: maximum number of prompts in a batch; batches are formed by length and padded on the left.
        advance: called with the number of prompts finished.
        sampler: chooses the next tokens.

    Returns:
        Texts in the order of the prompts, without special tokens.
    """
    answers = [""] * len(prompts)
    for chosen in decoding_batches(prompts, batch_size, max_new_tokens):
        cached = read_prompts(model, [prompts[i] for i in chosen], builder.pad)
        for i, answer in zip(chosen, decode_answers(model, builder, cached, max_new_tokens, sampler), strict=True):
            answers[i] = answer
        advance(len(chosen))
    return answers


@torch.no_grad()
def decode_answers(
    model: nn.Module, builder: PromptBuilder, prompts: PromptCache, max_new_tokens: int, sampler: Sampler = greedy
) -> list[str]:
    """Decode an answer to each cached prompt, token by token; finished rows leave the batch. See `generate`."""
    answers: list[list[int]] = [[] for _ in prompts.batch.input_ids]
    cache, mask, position = prompts.kv_cache(), prompts.batch.attention_mask, prompts.batch.position_ids[:, -1:]
    rows, last = torch.arange(len(answers), device=mask.device), prompts.last
    for _ in range(max_new_tokens):
        tokens = sampler(prompts.logits(last[:, -1]))
        for row, token in zip(rows.tolist(), tokens.tolist(), strict=True):
            answers[row].append(token)
        # One position stays free for the end of turn, in case a record is made of this answer.
        fits = position[:, 0] + 4 <= (context_length(model) or sys.maxsize)
        unfinished = ((tokens != builder.end_of_turn) & fits).nonzero()[:, 0]
        rows = rows[unfinished]
        if not len(rows) or len(answers[rows[0]]) == max_new_tokens:
            break
        if len(unfinished) < len(tokens):
            cache.batch_select_indices(unfinished)
        mask = torch.cat((mask[unfinished], mask.new_ones(len(unfinished), 1)), dim=1)
        position = position[unfinished] + 1
        last = forward_continuation(model, prompts, rows, cache, tokens[unfinished, None], mask, position)
    without_end = [ids[:-1] if ids and ids[-1] == builder.end_of_turn else ids for ids in answers]
    return [as_text(builder, ids) for ids in without_end]


def as_text(builder: PromptBuilder, ids: Sequence[int]) -> str:
    """Decode the token ids of an answer, without special tokens."""
    return cast(str, builder.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()
