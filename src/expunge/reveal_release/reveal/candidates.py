"""Candidates of a search: soft prompts, from which a generator writes instructions (INSTINCT, arXiv 2310.02905), and handwritten ones."""

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
from expunge.models.cache_check import cache_use
from expunge.models.generation import Sampler, generate, greedy
from expunge.models.hidden_states import prompt_states

BATCH_SIZE = 32
MAX_INSTRUCTION_TOKENS = 64
LABELS = ("Instruction:", "Question:", "Prompt:", "- ", "* ", "1. ")
"""What generators write in front of an instruction."""


@dataclass(frozen=True)
class Pool:
    """The candidates of a search (the arms of the bandit): first the soft prompts, then the handwritten instructions.

    Attributes:
        soft: (soft prompts, tokens, hidden).
        topics: soft prompt i precedes topic i modulo their number.
        instructions: handwritten ones.
        prefixes: first words of what is generated from a soft prompt; each is combined with every topic in turn. Empty: no prefix.
    """

    soft: Tensor
    topics: tuple[str, ...]
    instructions: tuple[str, ...]
    prefixes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.soft) + len(self.instructions)

    def is_handwritten(self, candidate: int) -> bool:
        """Return whether a candidate is a handwritten instruction."""
        return candidate >= len(self.soft)

    def text(self, candidate: int) -> str:
        """Return the topic of a soft prompt, or the handwritten instruction."""
        if self.is_handwritten(candidate):
            return self.instructions[candidate - len(self.soft)]
        return self.topics[candidate % len(self.topics)]

    def prefix(self, candidate: int) -> str:
        """Return the prefix of a soft prompt; empty for a handwritten instruction."""
        if self.is_handwritten(candidate) or not self.prefixes:
            return ""
        return self.prefixes[candidate // len(self.topics) % len(self.prefixes)]


def soft_prompts(model: nn.Module, count: int, tokens: int, intrinsic_dim: int, soft_token_scale: float, seed: int) -> Tensor:
    """Return points of a scrambled Sobol sequence, projected into the space of token embeddings by a fixed random matrix.

    Args:
        model: whose token embeddings give the scale.
        count: number of soft prompts.
        tokens: length of each.
        intrinsic_dim: dimensions of the sequence.
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
    norm = _embeddings(model).float().norm(dim=-1).mean()
    matrix = torch.from_numpy(rng.standard_normal((intrinsic_dim, tokens * _embeddings(model).shape[1]))).float()
    soft = (points @ matrix).view(count, tokens, -1)
    return soft * (soft_token_scale * norm / soft.norm(dim=-1).mean())


def pool_features(model: nn.Module, builder: PromptBuilder, pool: Pool, advance: Callable[[int], None]) -> Tensor:
    """Return the last block's state at the last token of each candidate (soft prompt, topic and prefix): (candidates, hidden), fp32."""
    last = len(decoder_blocks(model)[1]) - 1
    features = torch.empty(len(pool), _embeddings(model).shape[1])
    for context, prompts in _batches(model, builder, pool, range(len(pool))):
        with context as places:
            size = len(prompts)
            states = prompt_states(model, prompts, [last], builder.pad, size, transform=lambda tokens: tokens[-1].float())[last]
        features[places] = torch.stack(states)
        advance(len(prompts))
    return features


def write_instructions(model: nn.Module, builder: PromptBuilder, pool: Pool, candidates: Sequence[int]) -> list[str]:
    """Return the instruction of each candidate: generated greedily from its soft prompt, or handwritten.

    Args:
        model: the generator.
        builder: of its tokenizer.
        pool: that the candidates belong to.
        candidates: indices.
    """
    soft = [i for i in candidates if not pool.is_handwritten(i)]
    generated = iter(generate_from_candidates(model, builder, pool, soft, MAX_INSTRUCTION_TOKENS))
    return [pool.text(i) if pool.is_handwritten(i) else clean_instruction(next(generated)) for i in candidates]


def generate_from_candidates(
    model: nn.Module, builder: PromptBuilder, pool: Pool, candidates: Sequence[int], max_new_tokens: int, sampler: Sampler = greedy
) -> list[str]:
    """Return what a model generates from candidates, their prefixes included.

    The prompt of a candidate is its soft prompt and topic, or the handwritten instruction. A candidate may occur more than once.
    """
    texts = [""] * len(candidates)
    # The check of the cache runs other prompts, which must not get soft prompts.
    cache_use(model)
    for context, prompts in _batches(model, builder, pool, candidates):
        with context as places:
            generated = generate(model, builder, prompts, max_new_tokens, len(prompts), sampler=sampler)
            for place, text in zip(places, generated, strict=True):
                texts[place] = _joined(pool.prefix(candidates[place]), text)
    return texts


def _joined(prefix: str, text: str) -> str:
    # Decoding drops the space before the first word.
    return f"{prefix} {text}" if prefix and text[:1].isalnum() else prefix + text


def clean_instruction(text: str) -> str:
    """Return the first paragraph of a generated text, without quotes, list marks and labels around the instruction."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    for label in LABELS:
        line = line.removeprefix(label).strip()
    return line.strip("\"'“”* ")


def _batches(
    model: nn.Module, builder: PromptBuilder, pool: Pool, candidates: Sequence[int]
) -> Iterator[tuple[AbstractContextManager[list[int]], list[tuple[int, ...]]]]:
    """Yield batches of prompts: a context in which the model reads their soft prompts and that returns their places, and token ids.

    The prompts of a batch have equal lengths, so that no padding precedes a soft prompt, and `generate` does not reorder them.
    """
    groups: dict[tuple[bool, int], list[tuple[int, tuple[int, ...]]]] = {}
    for place, candidate in enumerate(candidates):
        prefix = pool.prefix(candidate)
        ids = builder.prompt((Turn("user", pool.text(candidate)),)) + (builder.unfinished_answer(prefix) if prefix else ())
        if not pool.is_handwritten(candidate):
            ids = (builder.pad,) * pool.soft.shape[1] + ids
        groups.setdefault((pool.is_handwritten(candidate), len(ids)), []).append((place, ids))
    for (is_handwritten, _), group in groups.items():
        for start in range(0, len(group), BATCH_SIZE):
            batch = group[start : start + BATCH_SIZE]
            places = [place for place, _ in batch]
            soft = None if is_handwritten else pool.soft[[candidates[place] for place in places]]
            yield _with_soft_prompts(model, soft, places), [ids for _, ids in batch]


def _embeddings(model: nn.Module) -> Tensor:
    return cast(Tensor, cast(PreTrainedModel, model).get_input_embeddings().weight)


@contextmanager
def _with_soft_prompts(model: nn.Module, soft: Tensor | None, places: list[int]) -> Iterator[list[int]]:
    """Replace the embeddings of each prompt's first tokens by vectors, (batch, tokens, hidden), within this context."""

    def hook(_module: nn.Module, _args: tuple, output: Tensor) -> Tensor:
        # Tokens that are generated later come one at a time, shorter than a soft prompt, and stay unchanged.
        if soft is None or output.shape[1] <= soft.shape[1]:
            return output
        return torch.cat((soft.to(output), output[:, soft.shape[1] :]), dim=1)

    handle = cast(PreTrainedModel, model).get_input_embeddings().register_forward_hook(hook)
    try:
        yield places
    finally:
        handle.remove()
