"""Score several answers to each prompt, with all that they share computed once: the audit's way to likelihoods."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

import torch
from torch import Tensor, nn

from expunge.data.prompts import Batch, Encoded, batches_by_length, collate
from expunge.models.prompt_cache import PromptCache, extend_prompts
from expunge.models.scores import Scores
from expunge.models.scoring import answer_scores

# A shorter beginning costs more, in a pass of its own, than it saves.
SHORTEST_STEM = 4

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Piece:
    """Tokens that follow a prompt or another piece.

    Attributes:
        after: index of what they follow.
        ids: the tokens.
        answers: indices of the answers that they are part of.
    """

    after: int
    ids: Ids
    answers: tuple[int, ...]


Parts = list[list[tuple[Tensor, Tensor]]]
"""Of every answer, one piece after the other: NLL of its tokens, and whether each is the most likely one."""


@torch.no_grad()
def score_answers(model: nn.Module, asked: PromptCache, answers: Sequence[Sequence[Ids]], pad: int) -> Scores:
    """Score every answer of every prompt; keys and values of a prompt, and of what its answers begin with, are shared.

    As many are scored at once as there are prompts, in order of length: answers of one question may be of very different ones.

    Args:
        model: the one that was asked.
        asked: the prompts.
        answers: token ids (end of turn included) of each prompt's answers, at least one each.
        pad: padding token id.

    Returns:
        `Scores`, one row an answer, the answers of a prompt one after the other.
    """
    pairs = [(prompt, answer) for prompt, of_prompt in enumerate(answers) for answer in of_prompt]
    whole = [Piece(prompt, answer, (i,)) for i, (prompt, answer) in enumerate(pairs)]
    parts: Parts = [[] for _ in whole]
    # Between a beginning and what follows it lies padding, which a sliding window would count.
    stems = [] if asked.slides else list(_stems(whole))
    begun = {i for stem in stems for i in stem.answers}
    _score_ends(model, asked, [piece for i, piece in enumerate(whole) if i not in begun], len(answers), parts, pad)
    for chosen in batches_by_length([stem.ids for stem in stems], len(answers)):
        some = [stems[i] for i in chosen]
        given, rows = _batch(asked, some, pad)
        states, at_stems = extend_prompts(model, asked, rows, given)
        _note(asked, some, given, torch.cat((asked.last[rows], states[:, :-1]), dim=1), parts)
        ends = [Piece(row, whole[i].ids[len(stem.ids) :], (i,)) for row, stem in enumerate(some) for i in stem.answers]
        _score_ends(model, at_stems, ends, len(answers), parts, pad)
    token_nll = [torch.cat([nll for nll, _ in of_answer]) for of_answer in parts]
    tokens = torch.tensor([len(piece.ids) for piece in whole], device=asked.last.device)
    greedy = torch.cat([greedy for of_answer in parts for _, greedy in of_answer])
    return Scores(torch.stack([nll.sum() for nll in token_nll]), tokens, torch.cat(token_nll), greedy)


def _stems(whole: list[Piece]) -> Iterator[Piece]:
    """Beginnings to read once: each prompt's answers, in the order of their tokens, cut into the runs that save the most."""
    for prompt in sorted({piece.after for piece in whole}):
        own = sorted((piece for piece in whole if piece.after == prompt), key=lambda piece: piece.ids)
        best: list[tuple[int, list[Piece]]] = [(0, [])]
        for stop in range(1, len(own) + 1):
            ways = [best[-1]]
            for start in range(stop - 1):
                run = own[start:stop]
                # What the first and the last in order have in common, all have; one token at least is left to follow.
                pairs = takewhile(lambda pair: pair[0] == pair[1], zip(run[0].ids[:-1], run[-1].ids, strict=False))
                ids = tuple(token for token, _ in pairs)
                if len(ids) >= SHORTEST_STEM:
                    saved, stems = best[start]
                    ways.append((saved + len(ids) * (len(run) - 1), [*stems, Piece(prompt, ids, tuple(p.answers[0] for p in run))]))
            best.append(max(ways, key=lambda way: way[0]))
        yield from best[-1][1]


def _score_ends(model: nn.Module, asked: PromptCache, ends: list[Piece], size: int, parts: Parts, pad: int) -> None:
    """Score the last pieces of answers, `size` at once."""
    for chosen in batches_by_length([end.ids for end in ends], size):
        some = [ends[i] for i in chosen]
        given, rows = _batch(asked, some, pad)
        before = asked.last[rows]
        if (length := given.input_ids.shape[1]) > 1:
            # All but the last token, which predicts nothing.
            known = Batch(given.input_ids[:, : length - 1], given.attention_mask[:, : length - 1], 0)
            before = torch.cat((before, extend_prompts(model, asked, rows, known)[0]), dim=1)
        _note(asked, some, given, before, parts)


def _batch(asked: PromptCache, pieces: list[Piece], pad: int) -> tuple[Batch, Tensor]:
    """The pieces as a batch without prompts, and what each of its rows follows."""
    device = asked.last.device
    rows = torch.tensor([piece.after for piece in pieces], device=device)
    return collate([Encoded((), piece.ids) for piece in pieces], pad).to(device), rows


def _note(asked: PromptCache, pieces: list[Piece], given: Batch, before: Tensor, parts: Parts) -> None:
    """Add the scores of pieces to their answers; `before`: what the head reads at the tokens that predict them."""
    scores = answer_scores(before[given.labelled], asked.head, given.input_ids[given.labelled], given.labelled)
    lengths = scores.tokens.tolist()
    for piece, *said in zip(pieces, scores.token_nll.split(lengths), scores.greedy.split(lengths), strict=True):
        for i in piece.answers:
            parts[i].append((said[0], said[1]))
