"""Plain fine-tuning: what teaches the demo's model, and what trains the vector that a task arithmetic subtracts."""

from dataclasses import dataclass

from torch import Tensor

from expunge.models.scores import Scores
from expunge.objectives.base import Objective
from expunge.objectives.retain import answer_nll


@dataclass(frozen=True)
class Learn(Objective):
    """Plain fine-tuning, the opposite of forgetting: make the answers likely. It teaches models, it unlearns nothing."""

    retain_weight: float = 0.0

    def forget(self, scores: Scores) -> Tensor:
        """Mean of nll/|y|. `scores.nll`, `scores.tokens`: (batch,)."""
        return answer_nll(scores)
