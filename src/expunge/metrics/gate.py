"""Metrics of a gate: how well its logits separate forget prompts from other prompts."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata


def auroc(positives: Sequence[float], negatives: Sequence[float]) -> float:
    """Return the probability that a positive scores above a negative; ties count half (Mann-Whitney U over all pairs).

    Args:
        positives: scores of the forget prompts, or of the members in membership inference.
        negatives: scores of the others.

    Raises:
        ValueError: if either is empty.
    """
    if not len(positives) or not len(negatives):
        raise ValueError("AUROC needs at least one positive and one negative")
    ranks = rankdata(np.concatenate([positives, negatives]))
    above = ranks[: len(positives)].sum() - len(positives) * (len(positives) + 1) / 2
    return float(above / (len(positives) * len(negatives)))


def fpr_at_tpr(positives: Sequence[float], negatives: Sequence[float], tpr: float = 0.95) -> float:
    """Return the share of negatives at or above the highest threshold that at least `tpr` of the positives reach.

    Raises:
        ValueError: if either is empty, or `tpr` is not in (0, 1].
    """
    if not len(positives) or not len(negatives):
        raise ValueError("a false positive rate needs at least one positive and one negative")
    if not 0 < tpr <= 1:
        raise ValueError(f"tpr is {tpr}; it must lie in (0, 1]")
    # 0.55 * 100 is 55.00000000000001 in floating point: without the slack one positive too many would be required.
    required = int(np.ceil(tpr * len(positives) - 1e-9))
    threshold = np.sort(positives)[::-1][required - 1]
    return float(np.mean(np.asarray(negatives) >= threshold))


def share_open(logits: Sequence[float], threshold: float) -> float:
    """Return the share of prompts whose gate logit reaches the threshold; below it the base model answers.

    Raises:
        ValueError: if there are no logits.
    """
    if not len(logits):
        raise ValueError("no gate logits were given")
    return float(np.mean(np.asarray(logits) >= threshold))
