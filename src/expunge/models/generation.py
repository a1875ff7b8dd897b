"""Answers to many prompts, greedy or sampled, batched by length; a row that has ended costs nothing more."""

import sys
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from expunge.data.prompts import PromptBuilder, decoding_batches
from expunge.models.blocks import context_length
from expunge.models.prompt_cache import PromptCache, forward_continuation, read_prompts

Sampler = Callable[[Tensor], Tensor]
"""Next tokens from logits: (rows, vocab) -> (rows,)."""


def greedy(logits: Tensor) -> Tensor:
    """Greedy decoding."""
    return logits.argmax(-1)


def nucleus_sampler(seed: int, temperature: float = 1.0, top_p: float = 1.0) -> Sampler:
    """Sampling from the nucleus (Holtzman et al., 2020, arXiv 1904.09751): the fewest tokens that have `top_p` of the probability."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(logits: Tensor) -> Tensor:
        # By the inverse of the distribution function: sorting a vocabulary takes longer than the model does.
        reach = (logits.double().cpu() / temperature).softmax(-1).cumsum(-1)
        where = torch.rand((len(reach), 1), generator=generator, dtype=reach.dtype) * reach[:, -1:]
        return torch.searchsorted(reach, where, right=True)[:, 0].clamp(max=reach.shape[-1] - 1).to(logits.device)

    def from_nucleus(logits: Tensor) -> Tensor:
        probability, tokens = (logits.float().cpu() / temperature).softmax(-1).sort(descending=True)
        probability[probability.cumsum(-1) - probability >= top_p] = 0.0
        return tokens.gather(-1, torch.multinomial(probability, 1, generator=generator))[:, 0].to(logits.device)

    return drawn if top_p == 1.0 else from_nucleus


def generate(
    model: nn.Module,
    builder: PromptBuilder,
    prompts: Sequence[tuple[int, ...]],
    max_new_tokens: int,
    batch_size: int = 16,
    advance: Callable[[int], None] = lambda rows: None,
    sampler: Sampler = greedy,
) -> list[str]:
    """The model's answer to each prompt, up to its end of turn or the end of the model's context.

    Args:
        model: a causal LM with or without edits.
        builder: of its tokenizer.
        prompts: token ids.
        max_new_tokens: longest answer.
        batch_size: prompts at once, at most; they are taken in order of length, padded on the left.
        advance: called with the number of prompts done.
        sampler: the next tokens, given their logits.

    Returns:
        Texts in the order of the prompts, without special tokens.
    """
    answers = [""] * len(prompts)
    for chosen in decoding_batches(prompts, batch_size, max_new_tokens):
        asked = read_prompts(model, [prompts[i] for i in chosen], builder.pad)
        for i, said in zip(chosen, decode_answers(model, builder, asked, max_new_tokens, sampler), strict=True):
            answers[i] = said
        advance(len(chosen))
    return answers


@torch.no_grad()
def decode_answers(
    model: nn.Module, builder: PromptBuilder, asked: PromptCache, max_new_tokens: int, sampler: Sampler = greedy
) -> list[str]:
    """One token after the other, to each of the prompts that the model was asked; see `generate`."""
    answers: list[list[int]] = [[] for _ in asked.batch.input_ids]
    cache, mask, position = asked.cache(), asked.batch.attention_mask, asked.batch.position_ids[:, -1:]
    owner, last = torch.arange(len(answers), device=mask.device), asked.last
    for _ in range(max_new_tokens):
        said = sampler(asked.logits(last[:, -1]))
        for row, token in zip(owner.tolist(), said.tolist(), strict=True):
            answers[row].append(token)
        # One position is kept for the end of turn that a record made of this answer gets.
        fits = position[:, 0] + 4 <= (context_length(model) or sys.maxsize)
        going = ((said != builder.end_of_turn) & fits).nonzero()[:, 0]
        owner = owner[going]
        if not len(owner) or len(answers[owner[0]]) == max_new_tokens:
            break
        if len(going) < len(said):
            cache.batch_select_indices(going)
        mask = torch.cat((mask[going], mask.new_ones(len(going), 1)), dim=1)
        position = position[going] + 1
        last = forward_continuation(model, asked, owner, cache, said[going, None], mask, position)
    ended = [ids[:-1] if ids and ids[-1] == builder.end_of_turn else ids for ids in answers]
    return [cast(str, builder.tokenizer.decode(ids, skip_special_tokens=True)).strip() for ids in ended]
