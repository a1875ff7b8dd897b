"""The retain terms that most objectives share: cross-entropy of the retain answers, or KL to the reference model on them."""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, log_softmax
from torch.utils.checkpoint import checkpoint

from expunge.models.scores import Scores

LABELS_AT_ONCE = 256


def at_least_fp32(values: Tensor) -> Tensor:
    """Return the values in fp32, or in fp64 if they are fp64."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def answer_nll(scores: Scores) -> Tensor:
    """Return the mean over records of nll/|y|, nats per token. `scores.nll`, `scores.tokens`: (batch,)."""
    return (scores.nll / scores.tokens).mean()


def answer_kl(scores: Scores) -> Tensor:
    """Return KL(reference || model) over the vocabulary, mean over answer tokens, then records (Maini et al., 2024, arXiv 2401.06121).

    `scores.logits`, `scores.reference_logits`: (labels, vocab); `scores.rows`: (labels,).
    """
    halves = scores.reference_logits.split(LABELS_AT_ONCE), scores.logits.split(LABELS_AT_ONCE)
    # Recomputed in the backward pass, which would otherwise hold five tensors of (labels, vocab) in memory.
    kl = torch.cat([cast(Tensor, checkpoint(_kl, *few, use_reentrant=False)) for few in zip(*halves, strict=True)])
    by_row = kl.new_zeros(len(scores.tokens)).index_add(0, scores.rows, kl)
    return (by_row / scores.tokens).mean()


def _kl(reference_logits: Tensor, logits: Tensor) -> Tensor:
    reference = log_softmax(at_least_fp32(reference_logits), -1)
    return (reference.exp() * (reference - log_softmax(at_least_fp32(logits), -1))).sum(-1)


RETAIN_TERMS: dict[str, Callable[[Scores], Tensor]] = {"nll": answer_nll, "kl": answer_kl}
RETAIN_FIELDS: dict[str, tuple[str, ...]] = {"nll": (), "kl": ("logits", "reference_logits")}
