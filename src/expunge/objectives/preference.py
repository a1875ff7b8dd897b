"""Objectives that give another answer: IDK and DPO (Maini et al., 2024, arXiv 2401.06121; Rafailov et al., 2023, arXiv 2305.18290)."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import logsigmoid

from expunge.models.scores import Scores
from expunge.objectives.base import Objective, Positive
from expunge.objectives.retain import answer_nll


@dataclass(frozen=True)
class IDK(Objective):
    """Learn to answer forget prompts with a refusal; each record's refusal is drawn anew every epoch."""

    answer = "alternative"

    def forget(self, scores: Scores) -> Tensor:
        """Mean of nll/|y| of the refusals. `scores.nll`, `scores.tokens`: (batch,), of the refusal."""
        return answer_nll(scores)


@dataclass(frozen=True)
class DPO(Objective):
    """Prefer the alternative (the record's own, else a refusal) to the true answer, relative to the reference."""

    beta: Positive = 0.1
    parts = ("reference_nll", "alternative_nll", "alternative_reference_nll")

    def forget(self, scores: Scores) -> Tensor:
        """Mean loss of a batch; all nll: (batch,), nats summed over the tokens of the true and the alternative answer."""
        alternative = scores.alternative_reference_nll - scores.alternative_nll
        true = scores.reference_nll - scores.nll
        return -(2 / self.beta) * logsigmoid(self.beta * (alternative - true)).mean()
