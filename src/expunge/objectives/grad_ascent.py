"""Gradient ascent, alone and with a retain term (Jang et al., 2022, arXiv 2210.01504; Liu et al., 2022, arXiv 2203.12817)."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from expunge.models.scores import Scores
from expunge.objectives.base import Objective, Weight
from expunge.objectives.retain import answer_nll


@dataclass(frozen=True)
class GradAscent(Objective):
    """Make the forget answers unlikely, without a retain term."""

    retain_weight: Weight = 0.0

    def forget(self, scores: Scores) -> Tensor:
        """Return minus the mean of nll/|y|. `scores.nll`, `scores.tokens`: (batch,)."""
        return -answer_nll(scores)


@dataclass(frozen=True)
class GradDiff(Objective):
    """Gradient ascent on the forget answers, descent on the retain answers (GRUN's "GD")."""

    def forget(self, scores: Scores) -> Tensor:
        """Return minus the mean of nll/|y|. `scores.nll`, `scores.tokens`: (batch,)."""
        return -answer_nll(scores)


@dataclass(frozen=True)
class KL(GradDiff):
    """Gradient ascent on the forget answers, KL to the reference model on the retain answers (Maini et al., 2024, arXiv 2401.06121)."""

    retain_loss: Literal["nll", "kl"] = "kl"
