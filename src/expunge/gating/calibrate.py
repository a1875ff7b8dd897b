"""Calibrate the threshold of a gate: split-conformal, for a false-positive rate on retain prompts."""

import math
from dataclasses import dataclass, replace

import torch
from scipy.stats import beta
from torch import Tensor

FORGET_QUANTILE = 0.05
RAISED_SHARE = 0.1
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Threshold:
    """The logit at which a gate opens.

    Attributes:
        logit: for a prompt with a lower gate logit the edit is off.
        n: held-out prompts that it was calibrated on.
        alpha: the false-positive rate that it was calibrated for, on average over calibrations.
        guaranteed: whether n is large enough for that rate (n >= 1/alpha - 1); otherwise the logit is the largest one observed.
        rate_bound: upper bound of the false-positive rate of this calibration, with 95 % confidence.
        calibration_rate: share of the calibration prompts that the gate opens for.
        lowered: whether the threshold was lowered because the gate would have stayed closed for most forget prompts; no rate is
            guaranteed then.
    """

    logit: float
    n: int
    alpha: float
    guaranteed: bool
    rate_bound: float
    calibration_rate: float
    lowered: bool = False


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
    n = len(retain)
    required_rank = math.ceil((n + 1) * (1 - alpha))
    rank = min(required_rank, n)
    highest = retain.float().sort().values[rank - 1]
    # The gate opens at the threshold itself, but the guarantee holds strictly above the calibrated logit.
    conformal = torch.nextafter(highest, highest.new_tensor(math.inf)).item()
    low = forget.float().quantile(FORGET_QUANTILE).item()
    logit = max(conformal, conformal + RAISED_SHARE * (low - conformal))
    # The share of all prompts above the k-th smallest of n is distributed as Beta(n - k + 1, k).
    bound = float(beta.ppf(CONFIDENCE, n - rank + 1, rank))
    return Threshold(logit, n, alpha, guaranteed=required_rank <= n, rate_bound=bound, calibration_rate=_share_open(retain, logit))


def lower_threshold(threshold: Threshold, retain: Tensor, forget: Tensor) -> Threshold:
    """Lower the threshold so that the gate opens for nearly all forget prompts; arguments as for `calibrate`."""
    # The lower of two neighbouring logits: a value between them would close the gate for one more record.
    logit = forget.float().quantile(FORGET_QUANTILE, interpolation="lower").item()
    return replace(threshold, logit=logit, guaranteed=False, rate_bound=1.0, calibration_rate=_share_open(retain, logit), lowered=True)


def _share_open(logits: Tensor, threshold: float) -> float:
    return (logits >= threshold).float().mean().item()
