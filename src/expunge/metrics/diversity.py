"""Reward of a set of responses: relevance and diversity combined (after Reveal-and-Release, arXiv 2509.14624)."""

import torch
from torch import Tensor


def set_reward(relevance: float, diversity: float, alpha: float) -> float:
    """Return the reward of a set of responses, 1 / (alpha / diversity + (1 - alpha) / relevance): low if either is low.

    Args:
        relevance: mean relevance of the responses, in [0, 1].
        diversity: of the responses, in [0, 1]; normalised, because a raw Vendi score exceeds 1 and would raise irrelevant sets.
        alpha: weight of diversity, in [0, 1].

    Returns:
        A number in [0, 1]; 0 if a part with a weight above 0 is 0; at alpha 0 or 1 one part alone.

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
    """Return the Vendi score of n responses mapped to [0, 1]: (VS - 1) / (n - 1), or 0 for fewer than two responses.

    Args:
        embeddings: (n, dim), any scale.

    Raises:
        ValueError: if there are two rows or more and one of them is zero or not finite.
    """
    n = len(embeddings)
    return min(1.0, max(0.0, (vendi_score(embeddings) - 1) / (n - 1))) if n > 1 else 0.0


def vendi_score(embeddings: Tensor) -> float:
    """Return the effective number of distinct responses (Friedman and Dieng, 2022, arXiv 2210.02410, eq. 1).

    Args:
        embeddings: (n, dim), any scale; cosine similarity is used.

    Returns:
        exp(-sum mu ln mu) over the eigenvalues mu of the similarities / n: from 1 (all alike) to n (all orthogonal).

    Raises:
        ValueError: if there are no rows, or one of them is zero or not finite.
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
