"""Representation misdirection (Li et al., 2024, WMDP, arXiv 2403.03218, sec. 4)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from expunge.models.scores import Scores
from expunge.objectives.base import Objective, Positive
from expunge.objectives.retain import at_least_fp32


@dataclass(frozen=True)
class RMU(Objective):
    """Steer the hidden states of forget answers to a fixed random direction, and preserve those of retain answers.

    Attributes:
        coefficient: c, the length that forget hidden states are driven to.
        block: 0-based block whose output is steered; None means every edited block, or the middle one for an edit that has no such
            setting. An edit above the steered block would get no gradient.
        seed: of the random direction u, uniform in [0, 1) and of unit length.
    """

    coefficient: Positive = 300.0
    block: int | None = None
    seed: int = 42
    forget_fields = ("hidden",)

    def forget(self, scores: Scores) -> Tensor:
        """Return the mean over blocks of MSE(h, c u), mean over answer tokens, then records. `scores.hidden`: {block: (labels, hidden)}."""
        return torch.stack([_by_row(h, self.direction(h), scores.tokens) for h in scores.hidden.values()]).mean()

    def retain(self, scores: Scores) -> Tensor:
        """Return the same of MSE(h, h_ref). `scores.hidden`, `scores.reference_hidden`: {block: (labels, hidden)}."""
        return torch.stack([_by_row(h, scores.reference_hidden[block], scores.tokens) for block, h in scores.hidden.items()]).mean()

    @property
    def retain_fields(self) -> tuple[str, ...]:
        """The retain term compares hidden states, not answers."""
        return ("hidden", "reference_hidden")

    @property
    def hidden_block(self) -> int | None:
        """The block that is steered; None means the blocks that the edit acts on."""
        return self.block

    def direction(self, hidden: Tensor) -> Tensor:
        """Return the target c u for hidden states (labels, hidden): (hidden,), in at least fp32."""
        u = torch.rand(hidden.shape[-1], generator=torch.Generator().manual_seed(self.seed), dtype=torch.float64)
        target = self.coefficient * u / u.norm()
        return target.to(device=hidden.device, dtype=torch.promote_types(hidden.dtype, torch.float32))


def _by_row(hidden: Tensor, target: Tensor, tokens: Tensor) -> Tensor:
    # A mean per record first, as in every other objective: ranks and micro-batches with fewer tokens then do not shift the mean.
    by_label = (at_least_fp32(hidden) - at_least_fp32(target)).square().mean(-1)
    return (by_label / tokens.repeat_interleave(tokens)).sum() / len(tokens)
