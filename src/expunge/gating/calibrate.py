"""Calibrate the threshold of a gate: split-conformal, for a false-positive rate on retain prompts, and for recall on forget prompts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from scipy.stats import beta
from torch import Tensor

FORGET_QUANTILE = 0.05
RAISED_SHARE = 0.1
CONFIDENCE = 0.95
RECALL = 0.98
"""Share of the forget prompts as given that a gate should open for."""


@dataclass(frozen=True)
class CalibrationLogits:
    """Gate logits that a threshold is chosen on.

    Attributes:
        retain: of each held-out retain prompt its variants, (variants,), the prompt as given first.
        forget: (m,), of the forget prompts as given.
        trained: (k,), of all forget prompts and variants that the gate was trained on.
        held_out: (v,), of variants of forget prompts that it was not trained on.
    """

    retain: Sequence[Tensor]
    forget: Tensor
    trained: Tensor
    held_out: Tensor


@dataclass(frozen=True)
class Threshold:
    """The logit at which a gate opens.

    Attributes:
        logit: for a prompt with a lower gate logit the edit is off.
        n: held-out prompts that it was calibrated on.
        alpha: the false-positive rate that it was calibrated for, on average over calibrations.
        guaranteed: whether n is large enough for that rate (n >= 1/alpha - 1); otherwise the logit is the largest one observed.
        rate_bound: upper bound of the false-positive rate of this calibration, with 95 % confidence.
        calibration_rate: share of the calibration prompts that the gate opens for in one of their variants.
        lowered: whether the threshold was lowered because the gate would have stayed closed for most forget prompts; no rate is
            guaranteed then.
        in_variants: whether the rate holds for every variant of a prompt; otherwise for prompts as given.
        recall: share of the forget prompts' held-out variants that the gate opens for; 1 if there are none.
        recall_n: number of these variants.
    """

    logit: float
    n: int
    alpha: float
    guaranteed: bool
    rate_bound: float
    calibration_rate: float
    lowered: bool = False
    in_variants: bool = True
    recall: float = 1.0
    recall_n: int = 0


def choose_threshold(logits: CalibrationLogits, alpha: float) -> Threshold:
    """Choose a threshold that bounds false positives and keeps recall, as far as the two classes part.

    1. The rate alpha holds for every variant of a prompt (`calibrate`), if the gate then opens for 98 % of the forget prompts as given.
    2. Otherwise it holds for prompts as given. Of the thresholds with that rate and that recall, the one with the fewest errors on
       held-out prompts is chosen. If there is none, the rate comes first.
    3. If the gate would stay closed for most forget prompts, recall comes first (`lower_threshold`).
    """
    worst = torch.stack([variants.max() for variants in logits.retain])
    threshold = calibrate(worst, logits.trained, alpha)
    if _share_open(logits.forget, threshold.logit) < RECALL:
        threshold = _for_prompts_as_given(logits, threshold, worst)
    if logits.forget.median().item() < threshold.logit:
        threshold = lower_threshold(threshold, worst, logits.forget)
    recall = _share_open(logits.held_out, threshold.logit) if len(logits.held_out) else 1.0
    return replace(threshold, recall=recall, recall_n=len(logits.held_out))


def calibrate(retain: Tensor, forget: Tensor, alpha: float) -> Threshold:
    """Return the split-conformal threshold (Vovk et al., 2005; Angelopoulos and Bates, 2021, arXiv 2107.07511).

    A new prompt drawn like the held-out ones opens the gate with probability at most alpha. Where nearly all forget prompts lie above
    the threshold, it is raised by a tenth of the distance to them. This only lowers that probability, and keeps the gate closed for
    prompts that are like neither set.

    Args:
        retain: (n,), gate logits of held-out retain prompts.
        forget: (m,), gate logits of forget prompts.
        alpha: the false-positive rate.
    """
    conformal, guaranteed, bound = _conformal(retain, alpha)
    low = forget.float().quantile(FORGET_QUANTILE).item()
    logit = max(conformal, conformal + RAISED_SHARE * (low - conformal))
    return Threshold(logit, len(retain), alpha, guaranteed, rate_bound=bound, calibration_rate=_share_open(retain, logit))


def _conformal(retain: Tensor, alpha: float) -> tuple[float, bool, float]:
    """Return the logit, whether there are enough prompts for the rate, and the upper bound of the rate with 95 % confidence."""
    n = len(retain)
    required_rank = math.ceil((n + 1) * (1 - alpha))
    rank = min(required_rank, n)
    highest = retain.float().sort().values[rank - 1]
    # The gate opens at the threshold itself, but the guarantee holds strictly above the calibrated logit.
    logit = torch.nextafter(highest, highest.new_tensor(math.inf)).item()
    # The share of all prompts above the k-th smallest of n is distributed as Beta(n - k + 1, k).
    return logit, required_rank <= n, float(beta.ppf(CONFIDENCE, n - rank + 1, rank))


def _for_prompts_as_given(logits: CalibrationLogits, threshold: Threshold, worst: Tensor) -> Threshold:
    lowest, guaranteed, bound = _conformal(torch.stack([variants[0] for variants in logits.retain]), threshold.alpha)
    # The lower of two neighbouring logits: a value between them would close the gate for one more record.
    highest = min(threshold.logit, logits.forget.float().quantile(1 - RECALL, interpolation="lower").item())
    logit = lowest if highest <= lowest else _fewest_errors(logits, lowest, highest)
    rate = _share_open(worst, logit)
    return replace(threshold, logit=logit, guaranteed=guaranteed, rate_bound=bound, calibration_rate=rate, in_variants=False)


def _fewest_errors(logits: CalibrationLogits, lowest: float, highest: float) -> float:
    """Return the threshold with the smallest sum of the two error rates on held-out prompts; of several, one far from all logits."""
    forget, retain = torch.cat((logits.forget, logits.held_out)).float(), torch.cat(tuple(logits.retain)).float()
    every = torch.cat((forget, retain)).clamp(lowest, highest).unique()
    middles, gaps = (every[:-1] + every[1:]) / 2, every.diff()
    errors = [((forget < middle).float().mean() + (retain >= middle).float().mean()).item() for middle in middles]
    best = min(range(len(errors)), key=lambda i: (errors[i], -gaps[i].item()))
    return middles[best].item()


def lower_threshold(threshold: Threshold, retain: Tensor, forget: Tensor) -> Threshold:
    """Lower the threshold so that the gate opens for nearly all forget prompts; arguments as for `calibrate`."""
    # The lower of two neighbouring logits: a value between them would close the gate for one more record.
    logit = forget.float().quantile(FORGET_QUANTILE, interpolation="lower").item()
    return replace(threshold, logit=logit, guaranteed=False, rate_bound=1.0, calibration_rate=_share_open(retain, logit), lowered=True)


def _share_open(logits: Tensor, threshold: float) -> float:
    return (logits >= threshold).float().mean().item()
