"""Negative preference optimisation and its reference-free form."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import logsigmoid

from expunge.models.scores import Scores
from expunge.objectives.base import Objective, Positive, Weight


@dataclass(frozen=True)
class NPO(Objective):
    """Push forget answers below the reference model, more gently the further they are (Zhang et al., 2024, arXiv 2404.05868, eq. 3)."""

    beta: Positive = 0.1
    forget_fields = ("reference_nll",)

    def forget(self, scores: Scores) -> Tensor:
        """Return the mean loss of a batch. `scores.nll`, `scores.reference_nll`: (batch,), nats summed over answer tokens."""
        gap = scores.nll - scores.reference_nll
        return -(2 / self.beta) * logsigmoid(self.beta * gap).mean()


@dataclass(frozen=True)
class SimNPO(Objective):
    """NPO without a reference, on the length-normalised loss with a margin (Fan et al., 2024, arXiv 2410.07163, eq. 4)."""

    forget_weight: Weight = 0.125
    beta: Positive = 4.5
    delta: float = 0.0

    def forget(self, scores: Scores) -> Tensor:
        """Return the mean loss of a batch. `scores.nll`, `scores.tokens`: (batch,); delta in nats per token."""
        gap = scores.nll / scores.tokens - self.delta
        return -(2 / self.beta) * logsigmoid(self.beta * gap).mean()
