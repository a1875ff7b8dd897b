"""Objectives that give another answer: a refusal (IDK), others of its own, or one that is preferred (DPO)."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import logsigmoid, relu

from expunge.models.scores import Scores
from expunge.objectives.base import Objective, Positive, Weight
from expunge.objectives.retain import answer_nll


@dataclass(frozen=True)
class IDK(Objective):
    """Learn to answer forget prompts with a refusal; each record's is drawn anew every epoch (Maini et al., 2024, arXiv 2401.06121)."""

    answer = "alternative"

    def forget(self, scores: Scores) -> Tensor:
        """Mean of nll/|y| of the refusals. `scores.nll`, `scores.tokens`: (batch,), of the refusal."""
        return answer_nll(scores)


@dataclass(frozen=True)
class Alternatives(Objective):
    """Answer as about somebody unknown: with an alternative of the record's or the model's own; what only the truth says becomes unlikely.

    Alternatives that the model makes are those of AltPO (Mekala et al., 2024, arXiv 2409.13474). In place of its unbounded preference
    the true answer's telling tokens are pushed up to `floor`, and no further: there is nothing to overshoot into.

    Attributes:
        push: weight of that part.
        floor: nats of each telling token.
    """

    push: Weight = 1.0
    floor: Positive = 3.0
    own_alternatives = True
    invents = True
    parts = ("alternative_nll", "telling")

    def forget(self, scores: Scores) -> Tensor:
        """Mean of nll/|y| of the alternatives + push * mean of max(0, floor - nll) of telling tokens. `scores.telling`: (labels,) bool."""
        short = relu(self.floor - scores.token_nll[scores.telling])
        # A micro-batch may have no telling token.
        return (scores.alternative_nll / scores.alternative_tokens).mean() + self.push * short.sum() / max(1, len(short))


@dataclass(frozen=True)
class DPO(Objective):
    """Prefer the alternative (the record's own, else a refusal) to the true answer (Rafailov et al., 2023, arXiv 2305.18290)."""

    beta: Positive = 0.1
    own_alternatives = True
    parts = ("reference_nll", "alternative_nll", "alternative_reference_nll")

    def forget(self, scores: Scores) -> Tensor:
        """Mean loss of a batch; all nll: (batch,), nats summed over the tokens of the true and the alternative answer."""
        alternative = scores.alternative_reference_nll - scores.alternative_nll
        true = scores.reference_nll - scores.nll
        return -(2 / self.beta) * logsigmoid(self.beta * (alternative - true)).mean()
