"""Gate first: a prompt-pooled gate trained alone on frozen states in seconds, then calibrated (spec: grun.md, "Beyond the paper")."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from scipy.stats import beta
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from expunge.config import EditSection, GatePool
from expunge.edits.grun.gate import Parts, pooled

GATE_STEPS, GATE_BATCH = 800, 64
READ_AT_ONCE = 256
GATE_LR = 3e-3
SOFTNESS = 0.3
FORGET_QUANTILE, RAISED = 0.05, 0.1


@dataclass(frozen=True)
class Threshold:
    """A calibrated gate: of `n` held-out retain prompts at most a share `alpha` would pass `logit`, and so of any drawn like them.

    Attributes:
        logit: prompts whose gate logit is below go through the base model unchanged.
        n, alpha: calibration prompts, and the stated false-positive rate.
        guaranteed: whether n was large enough for that rate (n >= 1/alpha - 1); otherwise the logit is the largest one seen.
        bound: what the rate is at most with 95 % confidence: alpha holds on average over calibrations, and this is one of them.
        passed: share of the calibration prompts at or above the logit.
        given_up: the gate cannot tell the two apart at that rate, and opens for what is to be forgotten all the same.
    """

    logit: float
    n: int
    alpha: float
    guaranteed: bool
    bound: float
    passed: float
    given_up: bool = False


def train_gate(parts: Parts, edit: EditSection, forget: Sequence[Tensor], retain: Sequence[Tensor], seed: int) -> float:
    """Fit a gate to tell forget prompts from retain prompts.

    With `max` the maximum is soft at first and hard at the end. A hard one teaches the gate one token a prompt, most often one
    that every prompt shares, and on TOFU its fit stays there: AUROC 0.83 on the very prompts that it learnt from, against 1.00.

    Args:
        parts: of the gate, see `expunge.edits.grun.gate.new_gate`; trained in place.
        edit: `gate_pool`, `gate_weight_decay` and `gate_class_balance` are read.
        forget: one (tokens, hidden) tensor a prompt, as `as_read` gives them.
        retain: the same of the other prompts.
        seed: of the order of the batches.

    Returns:
        The last loss, nats.
    """
    states = [*forget, *retain]
    targets = torch.tensor([1.0] * len(forget) + [0.0] * len(retain))
    weight = torch.ones_like(targets)
    if edit.gate_class_balance:
        weight = torch.where(targets == 1, len(states) / (2 * len(forget)), len(states) / (2 * len(retain)))
    trained = [p for part in parts.values() for p in part.parameters()]
    optimizer = torch.optim.AdamW(trained, lr=GATE_LR, weight_decay=edit.gate_weight_decay)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, GATE_STEPS)
    generator = torch.Generator().manual_seed(seed)
    loss = torch.zeros(())
    for step in range(GATE_STEPS):
        chosen = torch.randperm(len(states), generator=generator)[:GATE_BATCH]
        logits = gate_logits(parts, edit.gate_pool, [states[i] for i in chosen], SOFTNESS * (1 - step / GATE_STEPS))
        loss = binary_cross_entropy_with_logits(logits, targets[chosen], weight=weight[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return loss.item()


def gate_logits(parts: Parts, pool: GatePool, states: Sequence[Tensor], softness: float = 0.0) -> Tensor:
    """What a gate says of prompts, each (tokens, hidden) as `as_read` gives them: (prompts,)."""
    said = []
    for start in range(0, len(states), READ_AT_ONCE):
        some = tuple(states[start : start + READ_AT_ONCE])
        lengths = torch.tensor([len(own) for own in some])
        real = torch.arange(int(lengths.max()))[None] < lengths[:, None]
        # Unpadded: prompts in some dresses are many times as long as others.
        said.append(pooled(parts, pool, torch.cat(some).float(), real, softness))
    return torch.cat(said)


def calibrate(retain: Tensor, forget: Tensor, alpha: float) -> Threshold:
    """Split-conformal threshold on held-out retain prompts (Vovk et al., 2005; Angelopoulos and Bates, 2021, arXiv 2107.07511).

    A new prompt drawn like the held-out ones passes it with probability at most alpha. Where nearly all forget prompts lie above it,
    the threshold is raised by a tenth of the way to these, which can only lower that probability: prompts like neither set then
    leave the gate closed.

    Args:
        retain: (n,), gate logits of held-out retain prompts.
        forget: (m,), gate logits of forget prompts.
        alpha: the false-positive rate wanted.
    """
    n = len(retain)
    wanted = math.ceil((n + 1) * (1 - alpha))
    rank = min(wanted, n)
    highest = retain.float().sort().values[rank - 1]
    # The gate opens at the threshold itself, the guarantee is for strictly above the calibrated logit.
    conformal = torch.nextafter(highest, highest.new_tensor(math.inf)).item()
    low = forget.float().quantile(FORGET_QUANTILE).item()
    logit = max(conformal, conformal + RAISED * (low - conformal))
    # The share of all prompts above the k-th smallest of n is distributed as Beta(n - k + 1, k).
    bound = float(beta.ppf(0.95, n - rank + 1, rank))
    return Threshold(logit, n, alpha, guaranteed=wanted <= n, bound=bound, passed=_share(retain, logit))


def give_up(threshold: Threshold, retain: Tensor, forget: Tensor) -> Threshold:
    """The threshold at which the gate opens for nearly all forget prompts, with no rate promised; arguments as for `calibrate`."""
    # Not between two records: of few one more would be lost.
    logit = forget.float().quantile(FORGET_QUANTILE, interpolation="lower").item()
    return replace(threshold, logit=logit, guaranteed=False, bound=1.0, passed=_share(retain, logit), given_up=True)


def _share(logits: Tensor, threshold: float) -> float:
    return (logits >= threshold).float().mean().item()
