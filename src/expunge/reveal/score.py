"""What a set of responses is worth: relevant and diverse at once (after Reveal-and-Release, arXiv 2509.14624)."""

import sys
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from expunge.data.prompts import PromptBuilder
from expunge.data.texts import neutral_instructions
from expunge.models.blocks import context_length, decoder_blocks
from expunge.models.features import prompt_states


def set_score(relevance: float, diversity: float, alpha: float) -> float:
    """Weighted harmonic mean, 1 / (alpha / diversity + (1 - alpha) / relevance): low if either is low.

    Args:
        relevance: mean relevance of the responses, in [0, 1].
        diversity: of the responses, in [0, 1]; normalised, as a raw Vendi score exceeds 1 and would lift irrelevant sets.
        alpha: weight of diversity, in [0, 1].

    Returns:
        A number in [0, 1]; 0 if a part that has a weight is 0, the other part alone at alpha 0 or 1.

    Raises:
        ValueError: if one of them is not in [0, 1].
    """
    for name, value in (("relevance", relevance), ("diversity", diversity), ("alpha", alpha)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must be in [0, 1], got {value}")
    weighted = [(weight, part) for weight, part in ((alpha, diversity), (1 - alpha, relevance)) if weight > 0]
    if any(part == 0 for _, part in weighted):
        return 0.0
    return 1 / sum(weight / part for weight, part in weighted)


def diversity(embeddings: Tensor) -> float:
    """Vendi score of n responses, taken to [0, 1]: (VS - 1) / (n - 1), and 0 for fewer than two.

    Args:
        embeddings: (n, dim), any scale.

    Raises:
        ValueError: if there are two rows or more and one has no length, or is not finite.
    """
    n = len(embeddings)
    return min(1.0, max(0.0, (vendi_score(embeddings) - 1) / (n - 1))) if n > 1 else 0.0


def vendi_score(embeddings: Tensor) -> float:
    """Effective number of distinct responses (Friedman and Dieng, 2022, arXiv 2210.02410, eq. 1).

    Args:
        embeddings: (n, dim), any scale; cosine similarity is used.

    Returns:
        exp(-sum mu ln mu) over the eigenvalues mu of the similarities / n: from 1 (all alike) to n (all orthogonal).

    Raises:
        ValueError: if there are no rows, or one has no length or is not finite.
    """
    rows = embeddings.double()
    lengths = rows.norm(dim=-1)
    if not len(rows) or not bool(((lengths > 0) & lengths.isfinite()).all()):
        raise ValueError("a Vendi score needs at least one embedding, each finite and with a length")
    rows = rows / lengths[:, None]
    similarities = (rows @ rows.T).fill_diagonal_(1.0)
    # Rounding makes eigenvalues of 0 slightly negative.
    shares = torch.linalg.eigvalsh(similarities / len(rows)).clamp(min=0.0)
    return float(torch.special.entr(shares).sum().exp())


class Embedder(Protocol):
    """Where texts lie, so that alike ones lie in like directions."""

    def embed(self, texts: Sequence[str]) -> Tensor:
        """(texts, dim), a row for each text, whatever other texts are embedded with it."""
        ...


class StateEmbedder:
    """Texts by the states of a model that reads them: no other model is needed.

    A text is the mean over its tokens of what the last block says of them. Each token's state counts as a direction, since that of the
    first is many times longer than the others (an attention sink) and would tell the length of the text. The states of one model all
    point nearly the same way, and a few dimensions outweigh the rest: each dimension is centred and scaled by its mean and deviation
    over the shipped neutral instructions, which do not depend on what is embedded.
    """

    def __init__(self, model: nn.Module, builder: PromptBuilder):
        """Read the neutral instructions.

        Args:
            model: a causal LM; one whose weights change later needs another embedder then.
            builder: of its tokenizer.
        """
        self._model, self._builder = model, builder
        self._last_block = len(decoder_blocks(model)[1]) - 1
        neutral = torch.cat(self._states(neutral_instructions()))
        self._centre, deviation = neutral.mean(0, keepdim=True), neutral.std(0)
        self._scale = torch.where(deviation > 0, deviation, 1.0)

    def embed(self, texts: Sequence[str]) -> Tensor:
        """(texts, hidden), fp32, in main memory.

        What goes beyond the model's context is not read. A text of no tokens is read as the end of turn that an empty answer is made
        of, so that it has an embedding too.
        """
        states = torch.cat((self._centre[:0], *self._states(texts)))
        return (states - self._centre) / self._scale

    def _states(self, texts: Sequence[str]) -> list[Tensor]:
        longest = context_length(self._model) or sys.maxsize
        ids = [self._builder.raw(text)[:longest] or (self._builder.end_of_turn,) for text in texts]
        return prompt_states(self._model, ids, [self._last_block], self._builder.pad, keep=_mean_direction)[self._last_block]


def _mean_direction(states: Tensor) -> Tensor:
    """(tokens, hidden) -> (1, hidden)."""
    return normalize(states.float(), dim=-1).mean(0, keepdim=True)
