"""Score several answers to each prompt; the KV cache of the prompt, and of beginnings that answers share, is computed once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

import torch
from torch import Tensor, nn

from expunge.data.prompts import Batch, Encoded, batches_by_length, collate
from expunge.models.cache_check import CacheUse
from expunge.models.prompt_cache import PromptCache, extend_prompts
from expunge.models.scores import Scores
from expunge.models.scoring import answer_scores, score

# A shorter shared beginning costs more, in a forward pass for itself, than it saves.
MIN_SHARED_TOKENS = 4

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Segment:
    """Tokens that follow a prompt or another segment.

    Attributes:
        parent: index of the prompt or segment that they follow.
        ids: the tokens.
        answers: indices of the answers that contain them.
    """

    parent: int
    ids: Ids
    answers: tuple[int, ...]


Parts = list[list[tuple[Tensor, Tensor]]]
"""For every answer its segments in order: NLL of the tokens, and whether each is the most likely token."""


@torch.no_grad()
def score_answers(model: nn.Module, prompts: PromptCache, answers: Sequence[Sequence[Ids]], pad: int) -> Scores:
    """Score every answer to every prompt.

    A batch holds as many answers as there are prompts and is formed by length, since answers to one question may differ much in length.

    Args:
        model: the one that read the prompts.
        prompts: cached prompts.
        answers: for each prompt the token ids (end of turn included) of its answers, at least one.
        pad: padding token id.

    Returns:
        `Scores`, one row for each answer, the answers to a prompt next to each other.
    """
    pairs = [(prompt, answer) for prompt, of_prompt in enumerate(answers) for answer in of_prompt]
    whole = [Segment(prompt, answer, (i,)) for i, (prompt, answer) in enumerate(pairs)]
    parts: Parts = [[] for _ in whole]
    if prompts.use == CacheUse.SHARED:
        _score_from_cache(model, prompts, whole, len(answers), parts, pad)
    else:
        _score_whole_rows(model, prompts, whole, len(answers), parts, pad)
    token_nll = [torch.cat([nll for nll, _ in of_answer]) for of_answer in parts]
    lengths = torch.tensor([len(segment.ids) for segment in whole], device=prompts.last.device)
    greedy = torch.cat([greedy for of_answer in parts for _, greedy in of_answer])
    return Scores(torch.stack([nll.sum() for nll in token_nll]), lengths, torch.cat(token_nll), greedy)


def _score_from_cache(model: nn.Module, prompts: PromptCache, whole: list[Segment], batch_size: int, parts: Parts, pad: int) -> None:
    """Score answers that continue the cache of their prompt, and beginnings that several of them share once."""
    # Padding separates a shared beginning from what follows it, and a sliding window would count the padding.
    shared = [] if prompts.has_sliding_window else list(_shared_beginnings(whole))
    covered = {i for beginning in shared for i in beginning.answers}
    _score_ends(model, prompts, [segment for i, segment in enumerate(whole) if i not in covered], batch_size, parts, pad)
    for chosen in batches_by_length([beginning.ids for beginning in shared], batch_size):
        beginnings = [shared[i] for i in chosen]
        tokens, rows = _batch(prompts, beginnings, pad)
        outputs, extended = extend_prompts(model, prompts, rows, tokens)
        _add_scores(prompts, beginnings, tokens, torch.cat((prompts.last[rows], outputs[:, :-1]), dim=1), parts)
        ends = [Segment(row, whole[i].ids[len(b.ids) :], (i,)) for row, b in enumerate(beginnings) for i in b.answers]
        _score_ends(model, extended, ends, batch_size, parts, pad)


def _score_whole_rows(model: nn.Module, prompts: PromptCache, whole: list[Segment], batch_size: int, parts: Parts, pad: int) -> None:
    """Score answers in forward passes over prompt and answer, for a model whose cache several answers cannot continue."""
    real = prompts.batch.attention_mask.bool()
    prompt_ids = [tuple(ids[mask].tolist()) for ids, mask in zip(prompts.batch.input_ids, real, strict=True)]
    rows = [Encoded(prompt_ids[answer.parent], answer.ids) for answer in whole]
    for chosen in batches_by_length([(*row.prompt, *row.answer) for row in rows], batch_size):
        scores = score(model, collate([rows[i] for i in chosen], pad).to(prompts.last.device))
        lengths = scores.tokens.tolist()
        for i, nll, greedy in zip(chosen, scores.token_nll.split(lengths), scores.greedy.split(lengths), strict=True):
            parts[i].append((nll, greedy))


def _shared_beginnings(whole: list[Segment]) -> Iterator[Segment]:
    """Yield the shared beginnings that save the most tokens.

    Each prompt's answers are sorted and cut into runs by dynamic programming; a run shares what its first and last answer share.
    """
    for prompt in sorted({answer.parent for answer in whole}):
        answers = sorted((answer for answer in whole if answer.parent == prompt), key=lambda answer: answer.ids)
        # For the first 0, 1, 2, … answers: tokens saved, and the beginnings that save them.
        best: list[tuple[int, list[Segment]]] = [(0, [])]
        for stop in range(1, len(answers) + 1):
            options = [best[-1]]
            for start in range(stop - 1):
                run = answers[start:stop]
                # At least one token of each answer must be left to follow.
                pairs = takewhile(lambda pair: pair[0] == pair[1], zip(run[0].ids[:-1], run[-1].ids, strict=False))
                ids = tuple(token for token, _ in pairs)
                if len(ids) >= MIN_SHARED_TOKENS:
                    saved, beginnings = best[start]
                    beginning = Segment(prompt, ids, tuple(answer.answers[0] for answer in run))
                    options.append((saved + len(ids) * (len(run) - 1), [*beginnings, beginning]))
            best.append(max(options, key=lambda option: option[0]))
        yield from best[-1][1]


def _score_ends(model: nn.Module, prompts: PromptCache, ends: list[Segment], batch_size: int, parts: Parts, pad: int) -> None:
    """Score the last segments of answers."""
    for chosen in batches_by_length([end.ids for end in ends], batch_size):
        segments = [ends[i] for i in chosen]
        tokens, rows = _batch(prompts, segments, pad)
        predicting = prompts.last[rows]
        if (length := tokens.input_ids.shape[1]) > 1:
            # The last token predicts nothing that is scored.
            read = Batch(tokens.input_ids[:, : length - 1], tokens.attention_mask[:, : length - 1], 0)
            predicting = torch.cat((predicting, extend_prompts(model, prompts, rows, read)[0]), dim=1)
        _add_scores(prompts, segments, tokens, predicting, parts)


def _batch(prompts: PromptCache, segments: list[Segment], pad: int) -> tuple[Batch, Tensor]:
    """Return the segments as a batch without prompts, and the parent of each row."""
    device = prompts.last.device
    rows = torch.tensor([segment.parent for segment in segments], device=device)
    return collate([Encoded((), segment.ids) for segment in segments], pad).to(device), rows


def _add_scores(prompts: PromptCache, segments: list[Segment], tokens: Batch, predicting: Tensor, parts: Parts) -> None:
    """Add the scores of segments to their answers; `predicting` holds the outputs from which the head predicts the tokens."""
    scores = answer_scores(predicting[tokens.labelled], prompts.head, tokens.input_ids[tokens.labelled], tokens.labelled)
    lengths = scores.tokens.tolist()
    for segment, nll, greedy in zip(segments, scores.token_nll.split(lengths), scores.greedy.split(lengths), strict=True):
        for i in segment.answers:
            parts[i].append((nll, greedy))
