"""Score several answers to each prompt with the prompt computed once: the audit's way to likelihoods."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache

from expunge.data.prompts import Encoded, collate
from expunge.models.head import frozen_head, head_inputs
from expunge.models.scores import Scores
from expunge.models.scoring import answer_scores
from expunge.models.span import continued_prompts

Ids = tuple[int, ...]


@torch.no_grad()
def score_candidates(
    model: nn.Module, prompts: Sequence[Ids], answers: Sequence[Sequence[Ids]], pad: int, heard: Callable[[], None] = lambda: None
) -> Scores:
    """Score every answer of every prompt; the prompts' keys and values are shared.

    Args:
        model: a causal LM, with or without edits; without gradients.
        prompts: token ids of each prompt.
        answers: token ids (end of turn included) of each prompt's answers, at least one each.
        pad: padding token id.
        heard: called between the prompts and the answers, when what a gate says of the prompts can be read.

    Returns:
        `Scores`, one row an answer, the answers of a prompt one after the other.
    """
    device, head = next(model.parameters()).device, frozen_head(model)
    asked = collate([Encoded(prompt) for prompt in prompts], pad).to(device)
    prompt = {"input_ids": asked.input_ids, "attention_mask": asked.attention_mask, "position_ids": asked.position_ids}
    last, cache = _forward(model, head, **prompt, logits_to_keep=1)
    heard()
    owner = torch.tensor([i for i, of_prompt in enumerate(answers) for _ in of_prompt], device=device)
    given = collate([Encoded((), answer) for of_prompt in answers for answer in of_prompt], pad).to(device)
    labelled, last = given.labelled, last[owner]
    if labelled.shape[1] > 1:
        rest = _continue(model, head, cache, asked.attention_mask[owner], given.input_ids, labelled, owner)
        last = torch.cat((last, rest), dim=1)
    return answer_scores(last[labelled], head, given.input_ids[labelled], labelled)


def _continue(
    model: nn.Module, head: nn.Linear | None, cache: Cache, prompt_mask: Tensor, ids: Tensor, labelled: Tensor, owner: Tensor
) -> Tensor:
    """What `_forward` gives, (answers, length - 1, …), at all answer tokens but the last, which predicts nothing."""
    cache.batch_select_indices(owner)
    mask = torch.cat((prompt_mask, labelled[:, :-1].to(prompt_mask.dtype)), dim=1)
    # Padding stays at its row's last position: a long prompt beside a long answer of another row must not leave the context.
    positions = prompt_mask.sum(-1, keepdim=True) + labelled[:, :-1].cumsum(-1) - 1
    with continued_prompts(owner):
        return _forward(model, head, input_ids=ids[:, :-1], attention_mask=mask, position_ids=positions, past_key_values=cache)[0]


def _forward(model: nn.Module, head: nn.Linear | None, **inputs: Any) -> tuple[Tensor, Cache]:
    """The last hidden states, or without a head to take them to the logits, and the cache."""
    with head_inputs(model, head) if head else nullcontext([]) as states:
        output = model(**inputs, use_cache=True)
    return states[0] if head else output.logits, output.past_key_values
