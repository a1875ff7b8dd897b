"""Candidates to ask with: soft prompts that a generator turns into instructions (INSTINCT, arXiv 2310.02905), and texts of the user's."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from scipy.stats import qmc
from torch import Tensor, nn
from transformers import PreTrainedModel

from expunge.data.prompts import PromptBuilder
from expunge.data.records import Turn
from expunge.models.blocks import decoder_blocks
from expunge.models.generation import Sampler, generate, greedy
from expunge.models.hidden_states import prompt_states

READ_AT_ONCE = 32
LONGEST_INSTRUCTION = 64


@dataclass(frozen=True)
class Pool:
    """What may be asked, one candidate a row: first the soft prompts, then the user's texts.

    Attributes:
        soft: (soft prompts, tokens, hidden).
        topics: seed texts; soft prompt i stands before text i modulo their number.
        instructions: instructions of the user's.
        prefixes: how the answer to a soft prompt begins; each goes with every seed text in turn. None: as the model likes.
    """

    soft: Tensor
    topics: tuple[str, ...]
    instructions: tuple[str, ...]
    prefixes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.soft) + len(self.instructions)

    def is_text(self, candidate: int) -> bool:
        """Whether a candidate is a text of the user's."""
        return candidate >= len(self.soft)

    def seed_text(self, candidate: int) -> str:
        """What follows a soft prompt, or the user's text itself."""
        return self.instructions[candidate - len(self.soft)] if self.is_text(candidate) else self.topics[candidate % len(self.topics)]

    def prefix(self, candidate: int) -> str:
        """What the answer to a soft prompt begins with; nothing for a text of the user's."""
        return "" if self.is_text(candidate) or not self.prefixes else self.prefixes[candidate // len(self.topics) % len(self.prefixes)]


def soft_prompts(model: nn.Module, count: int, tokens: int, intrinsic_dim: int, soft_token_scale: float, seed: int) -> Tensor:
    """Points of a scrambled Sobol sequence, taken into the space of token embeddings by a fixed random matrix.

    Args:
        model: whose embeddings they stand beside.
        count: how many.
        tokens: length of each (spec: k).
        intrinsic_dim: dimensions of the sequence (spec: d').
        soft_token_scale: mean norm of the soft tokens, as a multiple of the mean norm of the token embeddings. Ours: with points in
            [0, 1] and a matrix of another scale most soft prompts give the same instruction.
        seed: of the scrambling and of the matrix.

    Returns:
        (count, tokens, hidden), fp32.
    """
    if not count:
        return torch.empty(0, tokens, _embeddings(model).shape[1])
    rng = np.random.default_rng([seed, 20])
    sobol = qmc.Sobol(intrinsic_dim, scramble=True, rng=rng)
    points = 2 * torch.from_numpy(sobol.random(1 << (count - 1).bit_length())[:count]).float() - 1
    length = _embeddings(model).float().norm(dim=-1).mean()
    matrix = torch.from_numpy(rng.standard_normal((intrinsic_dim, tokens * _embeddings(model).shape[1]))).float()
    soft = (points @ matrix).view(count, tokens, -1)
    return soft * (soft_token_scale * length / soft.norm(dim=-1).mean())


def pool_features(model: nn.Module, builder: PromptBuilder, pool: Pool, advance: Callable[[int], None]) -> Tensor:
    """Last-layer state at the last token of each candidate, soft prompt, seed text and begin together: (candidates, hidden), fp32."""
    last = len(decoder_blocks(model)[1]) - 1
    features = torch.empty(len(pool), _embeddings(model).shape[1])
    for chosen, prompts in _batches(model, builder, pool, range(len(pool))):
        with chosen as places:
            states = prompt_states(model, prompts, [last], builder.pad, len(prompts), transform=lambda states: states[-1].float())[last]
        features[places] = torch.stack(states)
        advance(len(prompts))
    return features


def instructions(model: nn.Module, builder: PromptBuilder, pool: Pool, candidates: Sequence[int]) -> list[str]:
    """The text that each candidate asks: what the generator makes of a soft prompt, greedily, or the user's own.

    Args:
        model: the generator.
        builder: of its tokenizer.
        pool: of which the candidates are.
        candidates: indices.
    """
    written = iter(answers(model, builder, pool, [i for i in candidates if not pool.is_text(i)], LONGEST_INSTRUCTION))
    return [pool.seed_text(i) if pool.is_text(i) else plain_instruction(next(written)) for i in candidates]


def answers(
    model: nn.Module, builder: PromptBuilder, pool: Pool, candidates: Sequence[int], max_new_tokens: int, sampler: Sampler = greedy
) -> list[str]:
    """What a model answers to candidates themselves, soft prompt and seed text together, what it begins with included.

    A candidate may come repeatedly.
    """
    said = [""] * len(candidates)
    for chosen, prompts in _batches(model, builder, pool, candidates):
        with chosen as places:
            for place, text in zip(places, generate(model, builder, prompts, max_new_tokens, len(prompts), sampler=sampler), strict=True):
                said[place] = _gone_on(pool.prefix(candidates[place]), text)
    return said


def _gone_on(begin: str, text: str) -> str:
    # Decoding drops the space before the first word.
    return f"{begin} {text}" if begin and text[:1].isalnum() else begin + text


def plain_instruction(text: str) -> str:
    """The first paragraph of what a generator wrote, without the quotes, list marks and labels that it puts around an instruction."""
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    for mark in ("Instruction:", "Question:", "Prompt:", "- ", "* ", "1. "):
        first = first.removeprefix(mark).strip()
    return first.strip("\"'“”* ")


def _batches(
    model: nn.Module, builder: PromptBuilder, pool: Pool, candidates: Sequence[int]
) -> Iterator[tuple[AbstractContextManager[list[int]], list[tuple[int, ...]]]]:
    """Places of candidates whose prompts are equally long, so that no padding comes before a soft prompt and their order stays."""
    groups: dict[tuple[bool, int], list[tuple[int, tuple[int, ...]]]] = {}
    for place, candidate in enumerate(candidates):
        prefix = pool.prefix(candidate)
        ids = builder.prompt((Turn("user", pool.seed_text(candidate)),)) + (builder.unfinished_answer(prefix) if prefix else ())
        if not pool.is_text(candidate):
            ids = (builder.pad,) * pool.soft.shape[1] + ids
        groups.setdefault((pool.is_text(candidate), len(ids)), []).append((place, ids))
    for (is_text, _), group in groups.items():
        for start in range(0, len(group), READ_AT_ONCE):
            places = [place for place, _ in group[start : start + READ_AT_ONCE]]
            soft = None if is_text else pool.soft[[candidates[place] for place in places]]
            yield _soft_prefix(model, soft, places), [ids for _, ids in group[start : start + READ_AT_ONCE]]


def _embeddings(model: nn.Module) -> Tensor:
    return cast(Tensor, cast(PreTrainedModel, model).get_input_embeddings().weight)


@contextmanager
def _soft_prefix(model: nn.Module, soft: Tensor | None, places: list[int]) -> Iterator[list[int]]:
    """Within this context the first tokens of every prompt that the model reads are these vectors, (batch, tokens, hidden)."""

    def hook(_module: nn.Module, _args: tuple, output: Tensor) -> Tensor:
        # What is generated comes one token at a time, after the cache.
        if soft is None or output.shape[1] <= soft.shape[1]:
            return output
        return torch.cat((soft.to(output), output[:, soft.shape[1] :]), dim=1)

    handle = cast(PreTrainedModel, model).get_input_embeddings().register_forward_hook(hook)
    try:
        yield places
    finally:
        handle.remove()
