"""Score several answers to each prompt with the prompt computed once: the audit's way to likelihoods."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from expunge.data.prompts import Encoded, by_length, collate
from expunge.models.asked import Asked, go_on
from expunge.models.scores import Scores
from expunge.models.scoring import answer_scores


@torch.no_grad()
def score_candidates(model: nn.Module, asked: Asked, answers: Sequence[Sequence[tuple[int, ...]]], pad: int) -> Scores:
    """Score every answer of every prompt; the prompts' keys and values are shared.

    As many answers are scored at once as there are prompts, in order of length: answers of one question may be of very different ones.

    Args:
        model: the one that was asked.
        asked: the prompts.
        answers: token ids (end of turn included) of each prompt's answers, at least one each.
        pad: padding token id.

    Returns:
        `Scores`, one row an answer, the answers of a prompt one after the other.
    """
    every = [answer for of_prompt in answers for answer in of_prompt]
    owner = torch.tensor([i for i, of_prompt in enumerate(answers) for _ in of_prompt], device=asked.last.device)
    found: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
    for chosen in by_length(every, len(answers)):
        scores = _score(model, asked, owner[chosen], [Encoded((), every[i]) for i in chosen], pad)
        lengths = scores.tokens.tolist()
        of_each = zip(scores.nll, scores.token_nll.split(lengths), scores.greedy.split(lengths), strict=True)
        found.update(zip(chosen, of_each, strict=True))
    nll, token_nll, greedy = zip(*(found[i] for i in range(len(every))), strict=True)
    tokens = torch.tensor([len(answer) for answer in every], device=owner.device)
    return Scores(torch.stack(nll), tokens, torch.cat(token_nll), torch.cat(greedy))


def _score(model: nn.Module, asked: Asked, owner: Tensor, answers: list[Encoded], pad: int) -> Scores:
    """Of answers in one batch, each to the prompt that `owner` says."""
    given, last = collate(answers, pad).to(owner.device), asked.last[owner]
    labelled = given.labelled
    if labelled.shape[1] > 1:
        last = torch.cat((last, _continue(model, asked, owner, given.input_ids, labelled)), dim=1)
    return answer_scores(last[labelled], asked.head, given.input_ids[labelled], labelled)


def _continue(model: nn.Module, asked: Asked, owner: Tensor, ids: Tensor, labelled: Tensor) -> Tensor:
    """What `go_on` gives, (answers, length - 1, …), at all answer tokens but the last, which predicts nothing."""
    cache, prompt_mask = asked.cache(), asked.batch.attention_mask[owner]
    cache.batch_select_indices(owner)
    mask = torch.cat((prompt_mask, labelled[:, :-1].to(prompt_mask.dtype)), dim=1)
    # Padding stays at its row's last position: a long prompt beside a long answer of another row must not leave the context.
    positions = prompt_mask.sum(-1, keepdim=True) + labelled[:, :-1].cumsum(-1) - 1
    return go_on(model, asked, owner, cache, ids[:, :-1], mask, positions)
