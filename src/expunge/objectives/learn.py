"""Plain fine-tuning: teaches the demo's model, and trains the LoRA modules that a release subtracts."""

from dataclasses import dataclass

from torch import Tensor

from expunge.models.scores import Scores
from expunge.objectives.base import Objective
from expunge.objectives.retain import answer_nll


@dataclass(frozen=True)
class Learn(Objective):
    """Make the answers likely. This teaches a model and unlearns nothing."""

    retain_weight: float = 0.0

    def forget(self, scores: Scores) -> Tensor:
        """Return the mean of nll/|y|. `scores.nll`, `scores.tokens`: (batch,)."""
        return answer_nll(scores)
